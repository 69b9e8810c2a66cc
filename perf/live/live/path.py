"""What both kinds of path share: their phases, their goals, and `message_path`, which is spoken to by lines."""
import dataclasses
import json

MIB = 1 << 20
POLICIES = ('model', 'bulk', 'stream', 'rules')
TURNS = 10  # a phase: senders alternate, since a machine's own speed changes by a quarter within seconds


class Failed(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Phase:
    name: str
    state: object  # what the path is put into; its own matter
    messages: int  # of each sender, a round
    size_bytes: int
    lossy: bool = False

    def turns(self):
        """How many messages a sender sends in each of its turns."""
        each, rest = divmod(self.messages, TURNS)
        return [each + (turn < rest) for turn in range(min(TURNS, self.messages))]


@dataclasses.dataclass(frozen=True)
class FirstPart:
    """A streamed message, of which the first part shall be there long before the last."""
    state: object
    text: str  # the state, for people
    size_bytes: int
    goal: float = 0.1  # of the message's time


def joined(answers):
    """The answers of one sender's turns as one."""
    whole = {name: sum(answer[name] for answer in answers) for name in ('bulk', 'stream', 'switches', 'probes')}
    whole['seconds'] = round(sum(answer['seconds'] for answer in answers), 6)
    whole['protocols'] = ''.join(answer['protocols'] for answer in answers)
    whole['times_us'] = [time for answer in answers for time in answer['times_us']]
    shares = sum(answer['first_part_share'] * len(answer['protocols']) for answer in answers)
    whole['first_part_share'] = round(shares / len(whole['protocols']), 4)
    return whole


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
