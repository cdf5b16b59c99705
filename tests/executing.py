"""An executor that notes the tasks that it is given."""

from hepgraph.executors import Serial


class Noting(Serial):
    def __init__(self):
        self.tasks = []

    def run(self, work, tasks):
        self.tasks += tasks
        return super().run(work, tasks)
