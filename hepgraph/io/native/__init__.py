"""Native loops over bytes."""
