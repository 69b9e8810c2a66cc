"""What both kinds of path share: their phases, their goals, and `message_path`, which is spoken to by lines."""
import dataclasses
import json

MIB = 1 << 20
POLICIES = ('model', 'bulk', 'stream', 'rules')


class Failed(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Phase:
    name: str
    state: object  # what the path is put into; its own matter
    messages: int  # of each sender, a round
    size_bytes: int
    lossy: bool = False


@dataclasses.dataclass(frozen=True)
class FirstPart:
    """A streamed message, of which the first part shall be there long before the last."""
    state: object
    text: str  # the state, for people
    size_bytes: int
    goal: float = 0.1  # of the message's time


class Program:
    """A started `message_path`. Those who know how to start one give it its two ends."""

    def read(self):
        raise NotImplementedError

    def write(self, line):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError

    def send(self, count, size_bytes):
        self.write(f'{count} {size_bytes}')
        return json.loads(self.read())

    def decisions(self):
        self.write('decisions')
        return json.loads(self.read())['decisions']
