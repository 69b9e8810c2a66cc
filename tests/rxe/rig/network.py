"""Makes rxe devices on a machine. iproute2 is called by its full path: a busybox has an `ip` of its own."""
IP, RDMA = '/usr/sbin/ip', '/usr/bin/rdma'
MTU = 9000  # a path MTU of 4096 needs more than Ethernet's 1500
DEVICE = 'rxe0'
PREFIX, PREFIX6 = '10.97.0.', 'fd97::'
# Of the second wire between two guests.
SECOND_DEVICE, SECOND_LINK, SECOND_PREFIX, SECOND_PREFIX6 = 'rxe1', 'eth1', '10.97.1.', 'fd97:0:0:1::'


def _up(link, number, prefix=PREFIX, prefix6=PREFIX6):
    return (f'{IP} link set {link} mtu {MTU} up && {IP} address replace {prefix}{number}/24 dev {link} && '
            f'{IP} address replace {prefix6}{number}/64 dev {link} nodad')


def _finish(machine, link, number):
    machine.check(f'set -e; {IP} link set lo up; {_up(link, number)}; '
                  f'{RDMA} link add {DEVICE} type rxe netdev {link}')
    machine.link, machine.device = link, DEVICE
    machine.address, machine.address6 = f'{PREFIX}{number}', f'{PREFIX6}{number}'


def make_veth_device(machine, link='v0', peer='v1'):
    machine.check(f'{IP} link add {link} mtu {MTU} type veth peer name {peer} mtu {MTU} && {IP} link set {peer} up')
    _finish(machine, link, 1)


def make_ethernet_device(machine, number):
    machine.check(f'hostname rxe{number}')
    _finish(machine, 'eth0', number)


def add_second_device(machine, number):
    machine.check(f'{_up(SECOND_LINK, number, SECOND_PREFIX, SECOND_PREFIX6)} && '
                  f'{RDMA} link add {SECOND_DEVICE} type rxe netdev {SECOND_LINK}')


def remove_second_device(machine):
    """Also one that was deleted meanwhile. Who uses the device must have ended."""
    machine.check(f'if {RDMA} link show {SECOND_DEVICE}/1 >/dev/null 2>&1; then {RDMA} link delete {SECOND_DEVICE}; fi; '
                  f'{IP} link set {SECOND_LINK} down')
