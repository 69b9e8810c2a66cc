"""Holds a document against schema mcp-perf/1: every field there, none besides, each of its type and plausible."""
import numbers

COUNT = object()
NUMBER = object()

SIDE = {'host': str, 'transport': str, 'device': str, 'rails': COUNT, 'memory': str, 'cpu_model': str, 'kernel': str}
FALLBACK = {'wanted': str, 'used': str, 'reason': str}
RESULT = {
    'test': str, 'size_bytes': COUNT, 'operations': COUNT, 'seconds': NUMBER, 'bandwidth_bytes_per_s': NUMBER,
    'operations_per_s': NUMBER,
    'latency_us': {name: NUMBER for name in ('min', 'mean', 'p50', 'p90', 'p99', 'p99_9', 'max')},
    'payload_bytes': COUNT, 'wire_bytes': COUNT, 'compression_ratio': NUMBER, 'codec': str,
    'protocols': {'bulk': COUNT, 'stream': COUNT, 'eager': COUNT}, 'protocol_switches': COUNT, 'retransmitted_tiles': COUNT,
    'checksum_failures': COUNT, 'cpu_s': {'local': NUMBER, 'remote': NUMBER}, 'verified_bytes': COUNT,
    'error': (str, type(None)),
}
DOCUMENT = {'schema': str, 'version': str, 'command': [str], 'local': SIDE, 'remote': SIDE, 'fallbacks': [FALLBACK],
            'results': [RESULT]}


def check_type(value, shape, where):
    if isinstance(shape, dict):
        assert isinstance(value, dict), f'{where}: {value!r} is not an object'
        assert list(value) == list(shape), f'{where}: fields {list(value)}, not {list(shape)}'
        for name, inner in shape.items():
            check_type(value[name], inner, f'{where}.{name}')
    elif isinstance(shape, list):
        assert isinstance(value, list), f'{where}: {value!r} is not a list'
        for index, item in enumerate(value):
            check_type(item, shape[0], f'{where}[{index}]')
    elif shape is COUNT:
        assert type(value) is int and value >= 0, f'{where}: {value!r} is not a count'
    elif shape is NUMBER:
        assert isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 <= value < 1e300, \
            f'{where}: {value!r} is not a number'
    else:
        assert isinstance(value, shape), f'{where}: {value!r} is not {shape}'


def check_result(result, verified, where):
    """What must hold between the fields of a test that ran."""
    assert result['operations'] > 0 and result['seconds'] > 0, where
    assert result['payload_bytes'] == result['operations'] * result['size_bytes'], where
    assert result['verified_bytes'] == (result['payload_bytes'] if verified else 0), where
    assert result['wire_bytes'] >= result['payload_bytes'], where
    for rate, total in (('bandwidth_bytes_per_s', 'payload_bytes'), ('operations_per_s', 'operations')):
        expected = result[total] / result['seconds']
        assert abs(result[rate] - expected) <= 0.01 * expected + 0.001, f'{where}.{rate}'
    latency = result['latency_us']
    order = [latency[name] for name in ('min', 'p50', 'p90', 'p99', 'p99_9', 'max')]
    assert order == sorted(order) and order[0] > 0, f'{where}: {latency}'
    assert latency['min'] <= latency['mean'] <= latency['max'], f'{where}: {latency}'
    assert sum(result['protocols'].values()) == result['operations'], where
    assert result['compression_ratio'] == 1 and result['codec'] == 'none', where


def check(document, verified=True):
    """Raises AssertionError with the place of what is wrong. Results with an error are held to their types alone."""
    check_type(document, DOCUMENT, 'document')
    assert document['schema'] == 'mcp-perf/1', document['schema']
    for index, result in enumerate(document['results']):
        if result['error'] is None:
            check_result(result, verified, f'results[{index}] ({result["test"]} of {result["size_bytes"]})')
