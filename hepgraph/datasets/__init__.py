"""Events of files: filesets, schemas, collections."""
