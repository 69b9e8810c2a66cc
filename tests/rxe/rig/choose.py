"""Which machine it is: a real device, else rxe on this host, else guests, else the reasons why there is none."""
from . import guest, local
from .machine import RigError

ANY, GUEST = 'any', 'guest'


class NoMachine(RigError):
    """There is nothing to run on; its text says why."""


def one(series, kind=ANY):
    """A machine with a device for what one host can do."""
    reasons = []
    if kind == ANY:
        devices = local.real_devices()
        if devices:
            return local.open_real(devices[0])
        reasons = ['no active device in /sys/class/infiniband', local.rxe_missing()]
        if not reasons[-1]:
            return local.open_rxe()
    reasons.append(guest.missing(series))
    if not reasons[-1]:
        return guest.boot_one(series)
    raise NoMachine('; '.join(reasons))


def two(series):
    """Two machines that reach each other. Those are guests: a second real host is not ours to take."""
    reason = guest.missing(series)
    if reason:
        raise NoMachine(reason)
    return guest.boot_two(series)
