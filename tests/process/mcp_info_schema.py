"""Holds a document against schema mcp-info/1 (tools/mcp_info/README.md): every field there, none besides."""
from mcp_perf_schema import COUNT, NUMBER, check_type

MAYBE_COUNT = (int, type(None))
MAYBE_TEXT = (str, type(None))

GID = {'index': COUNT, 'gid': str, 'address': str, 'type': str, 'interface': str, 'reach': str}
PORT = {'number': COUNT, 'state': str, 'physical_state': str, 'link_layer': str, 'rate': str, 'speed_gbps': NUMBER,
        'mtu_active_bytes': MAYBE_COUNT, 'mtu_max_bytes': MAYBE_COUNT, 'gids': [GID]}
DEVICE = {'name': str, 'driver': str, 'firmware': str, 'node_guid': str, 'pci_address': str, 'numa_node': MAYBE_COUNT,
          'problem': str, 'limits': [str], 'ports': [PORT]}
INTERFACE = {'name': str, 'state': str, 'mtu_bytes': COUNT, 'speed_mbps': COUNT, 'numa_node': MAYBE_COUNT,
             'rdma_device': str, 'addresses': [str]}
MEMORY = {'memlock_soft_bytes': MAYBE_COUNT, 'memlock_hard_bytes': MAYBE_COUNT, 'memlock_exempt': bool,
          'huge_pages': [{'size_bytes': COUNT, 'total': COUNT, 'free': COUNT}], 'transparent_huge_pages': str}
GPU = {'pci_address': str, 'vendor': str, 'model': str, 'driver': str, 'numa_node': MAYBE_COUNT}
DOCUMENT = {
    'schema': str, 'version': str,
    'host': {'name': str, 'kernel': str, 'cpu_model': str, 'cpus': COUNT, 'numa_nodes': COUNT},
    'transports': [{'name': str, 'usable': bool, 'reason': str}],
    'rdma_devices': [DEVICE], 'interfaces': [INTERFACE], 'memory': MEMORY, 'io_uring': {'usable': bool, 'reason': str},
    'gpus': [GPU], 'gpu_registration': [{'way': str, 'available': bool, 'reason': str}],
    'kernel_modules': [{'name': str, 'state': str, 'purpose': str}], 'advice': [str],
    'between': (dict, type(None)), 'check': (dict, type(None)),
}
RAIL = {'device': str, 'port': COUNT, 'gid_index': COUNT, 'gid_type': str, 'usable': bool, 'reason': str}
RANKED = {'device': str, 'port': COUNT, 'gid_index': MAYBE_COUNT, 'gid_type': str, 'address': str,
          'speed_gbps': NUMBER, 'numa_distance': COUNT, 'numa_distances': [{'node': COUNT, 'distance': COUNT}],
          'used': bool, 'reason': str}
BETWEEN = {'from': str, 'to': str, 'interface': str, 'transport': str, 'reason': str, 'rails': [RAIL],
           'ports': [RANKED]}
CHECK = {'host': str, 'port': COUNT, 'passed': bool, 'failed_step': MAYBE_TEXT, 'transport': str,
         'steps': [{'name': str, 'outcome': str, 'detail': str, 'cause': str}]}
STEPS = ['resolve', 'route', 'tcp', 'mcp', 'server', 'rdma', 'transfer']


def check(document):
    """Raises AssertionError with the place of what is wrong."""
    check_type(document, DOCUMENT, 'document')
    assert document['schema'] == 'mcp-info/1', document['schema']
    for state in document['transports'] + [document['io_uring']]:
        assert bool(state['reason']) != state['usable'], state
    for way in document['gpu_registration']:
        assert bool(way['reason']) != way['available'], way
    if document['between'] is not None:
        check_type(document['between'], BETWEEN, 'between')
    if document['check'] is not None:
        check_type(document['check'], CHECK, 'check')
        check_steps(document['check'])


def check_steps(result):
    """In their order, and none after the one that failed."""
    names = [step['name'] for step in result['steps']]
    assert names == STEPS[:len(names)], names
    failed = [step['name'] for step in result['steps'] if step['outcome'] == 'failed']
    assert result['passed'] == (not failed), result
    assert result['failed_step'] == (failed[0] if failed else None), result
    assert failed in ([], [names[-1]]), names
    for step in result['steps']:
        assert bool(step['cause']) == (step['outcome'] == 'failed'), step
