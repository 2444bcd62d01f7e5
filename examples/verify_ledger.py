#!/usr/bin/python3
"""Verifies exports and archives of a Chatelaine ledger, with public material only. Written from docs/LEDGER.md alone, in its
order. Needs Debian's python3-cryptography and python3-msgpack. Exit: 0 ok, 1 unanchored tail, 2 FAIL, 3 could not run."""
import argparse, base64, functools, hashlib, json, re, sys  # noqa: E401
from collections import namedtuple
from pathlib import Path
import msgpack
from blake3_pure import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MESSAGE_MAX, EVENT_MAX, EVENTS_MAX, DEPTH_MAX, LOST_MAX = 512 * 1024, 64 * 1024, 256, 32, 64
JUMP_MAX, UINT_MAX, LINE_MAX, LINE_DEPTH_MAX, STATE, USAGE = (
    2**24, 2**53 - 1, 4 * 2**20, 64, 'kms.ledger.state', 'kms.ledger.usage')
P, D = 2**255 - 19, 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3
Y8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826  # of a point of order 8
# What a value must be: int stands for a uint, a number for bytes of that length, a list for up to 64 of a kind.
HEAD = {'v': int, 'origin': str, 'epoch': int, 'seq': int, 'subject': str, 'first': int, 'count': int, 'time': int,
        'prev': 32, 'events_root': 32}
OWN = {'LedgerCreated': {'root_public_key': 32, 'context_key': bytes},
       'EpochOpened': {'writer': str, 'kid': str, 'public_key': 32, 'attestation': 64},
       'RootRotated': {'public_key': 32, 'signature_new': 64},
       'LedgerRecovered': {'from': int, 'to': int, 'digest': 32, 'lost': [{'size': int, 'hash': str}], 'reason': str},
       'LedgerRolled': {'next_stream': str, 'archived_to': {'size': int, 'root': 32}}}
Message = namedtuple('Message', 'stream seq subject payload')
Commit = namedtuple('Commit', 'envelope head head_bytes kid signature events own data unknown')
# `hash` is a commit's; with a `note`, which is a checkpoint's, the tree's root. A segment's own checkpoint vouches for no end.
Anchor = namedtuple('Anchor', 'name size hash index note vouches', defaults=(0, None, True))
def need(condition, reason):
    if not condition:
        raise ValueError(reason)  # as the libraries do that are used here
def sha256(*parts):
    return hashlib.sha256(b''.join(parts)).digest()
# --- Encoding ---
def decode(data, depth_max, lax):
    """One value of strict MessagePack; `lax` lets floats and nil pass, as they may stand in events."""
    return check(msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=to_map), depth_max, lax)
def to_map(pairs):
    """Sees every pair; the libraries by themselves would keep the last of two equal keys."""
    need({str} >= {type(key) for key, _ in pairs} and len(dict(pairs)) == len(pairs), 'a key is no string, or stands twice')
    return dict(pairs)
def check(value, depth_left, lax):
    if type(value) in (dict, list):
        need(depth_left > 0, 'nested too deeply')
        for item in value.values() if type(value) is dict else value:
            check(item, depth_left - 1, lax)
    elif type(value) is int:
        need(abs(value) <= UINT_MAX, 'an integer has more than 53 bits')
    else:  # What is refused by this are floats and nil, and the library's two types for extensions.
        need(type(value) in (str, bytes, bool) or lax and type(value) in (float, type(None)), 'a type that is not allowed')
    return value
def fits(value, shape):
    if type(shape) is dict:
        return type(value) is dict and all(fits(value.get(key), member) for key, member in shape.items())
    if type(shape) is list:
        return type(value) is list and len(value) <= LOST_MAX and all(fits(item, shape[0]) for item in value)
    if type(shape) is int:
        return type(value) is bytes and len(value) == shape
    return type(value) is shape and (shape is not int or 0 <= value <= UINT_MAX)
# --- Signatures ---
def to_key(key):
    """A point of the curve in its one encoding, x² = (y² − 1)/(d y² + 1) having a root, and not of small order."""
    y = int.from_bytes(key, 'little') & 2**255 - 1
    need(len(key) == 32 and y < P and y not in (0, 1, P - 1, Y8, P - Y8), 'a public key is not a point, or of small order')
    need(pow((y * y - 1) * pow(D * y * y + 1, -1, P), P // 2, P) == 1, 'a public key is not a point of the curve')
    return key
def to_kid(key):
    return sha256(key).hex()[:32]
def is_signed(key, message, signature):
    try:  # As OpenSSL does it: without the cofactor, and S below the order of the group.
        return Ed25519PublicKey.from_public_bytes(key).verify(signature, message) is None
    except InvalidSignature:
        return False
# --- Message ---
def split_frames(payload):
    need(0 < len(payload) <= MESSAGE_MAX, 'the message is empty or too large')
    frames, at = [], 0
    while at < len(payload):
        start = at + 4
        at = start + int.from_bytes(payload[at:start], 'little')
        need(at <= len(payload) and len(frames) <= EVENTS_MAX, 'a length reaches past the end, or too many events')
        need(not frames or at - start <= EVENT_MAX, 'an event is too large')
        frames.append(payload[start:at])
    return frames
def merkle_root(hashes):
    """RFC 6962 §2.1 over leaf hashes, level by level: a last one without neighbour moves up as it is."""
    while len(hashes) > 1:
        pairs = [hashes[at:at + 2] for at in range(0, len(hashes), 2)]
        hashes = [sha256(b'\1', *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return hashes[0]
def read_commit(payload, types):
    """All that can be told of a message without knowing what came before."""
    envelope, *events = split_frames(payload)
    parts = decode(envelope, 1, lax=False)
    need(type(parts) is list and len(parts) == 3 and fits(dict(zip('hks', parts)), {'h': bytes, 'k': str, 's': 64}), 'envelope')
    head_bytes, kid, signature = parts
    head = decode(head_bytes, 1, lax=False)
    need(fits(head, HEAD) and list(head) == list(HEAD) and head['v'] == 1, 'the head is not a map of its keys, in order')
    need(re.fullmatch('[0-9a-f]{32}', kid) and 0 < head['count'] == len(events), 'the kid, or head.count')
    need(head['events_root'] == merkle_root([sha256(b'\0', event) for event in events]), 'head.events_root')
    decoded = [decode(event, DEPTH_MAX, lax=True) for event in events]
    need(all(fits(event, {'type': str, 'data': dict}) for event in decoded), 'an event is not a map with type and data')
    kinds = [types.get(event['type']) for event in decoded]
    allowed = [USAGE] if set(kinds) == {'usage'} else [STATE] if 'state' in kinds else [STATE, USAGE]
    need(head['subject'] in allowed, 'the subject does not fit the events')
    own, data = next(((e['type'], check(e, DEPTH_MAX, lax=False)['data']) for e in decoded if e['type'] in OWN), (None, {}))
    need(fits(data, OWN.get(own, {})) and (own is None or len(events) == 1), f'{own} is malformed, or does not stand alone')
    return Commit(envelope, head, head_bytes, kid, signature, len(events), own, data, kinds.count(None))
# --- Who may sign what, and Verification ---
class Ledger:
    """One pass over the messages. `expects`: genesis, epoch (nothing but EpochOpened or LedgerRecovered), append, recovered."""
    def __init__(self, origin, root, anchors, types):
        self.origin, self.root, self.anchors, self.types = origin, root, anchors, types
        self.seq, self.hash, self.events, self.epoch, self.epoch_key = 0, bytes(32), 0, 0, None
        self.reached, self.commits, self.unknown, self.consequences, self.expects = 0, 0, 0, 0, 'genesis'
        self.stream = self.next_stream = self.gap = None  # gap: the running SHA-256 of what stands there
        self.curable, self.lasting, self.recovered, self.tree, self.matched, self.lost = [], [], [], [], set(), set()
    def add(self, message):
        missing = message.seq - self.reached - 1
        if not 0 <= missing <= JUMP_MAX:
            return self.lasting.append((message.seq, f'out of order, or too far after {self.reached}'))
        if missing > 0:
            self.curable.append((self.reached + 1, f'missing up to {message.seq - 1}'))
        for left in range(missing, 0, -4096):
            self.enter_gap(bytes(32 * min(left, 4096)))
        try:
            if self.judge(message, read_commit(message.payload, self.types)):
                return
            self.consequences += 1
        except ValueError as error:
            self.curable.append((message.seq, str(error)))
        self.enter_gap(sha256(message.payload))
    def enter_gap(self, entries):
        self.gap = self.gap or hashlib.sha256()
        self.gap.update(entries)
        self.grow([entries[at:at + 32] for at in range(0, len(entries), 32)])
    def grow(self, leaves):
        """More leaves in the tree, of which the perfect subtrees are kept; checkpoints are compared as their size passes."""
        notes, self.reached = [anchor for anchor in self.anchors if anchor.note], self.reached + len(leaves)
        for size, leaf in enumerate(leaves if notes else [], self.reached - len(leaves)):
            self.tree.append(sha256(b'\0', leaf))
            for _ in range((~size & size + 1).bit_length() - 1):
                self.tree[-2:] = [sha256(b'\1', *self.tree[-2:])]
            for anchor in (anchor for anchor in notes if anchor.size == size + 1):
                root = functools.reduce(lambda right, left: sha256(b'\1', left, right), reversed(self.tree))
                (text, signatures), me = anchor.note, (self.origin, to_key_id(self.origin, self.root))
                own = [signature for who, key_id, signature in signatures if (who, key_id) == me]  # others are not looked at
                if own and root.hex() == anchor.hash and all(is_signed(self.root, text, signature) for signature in own):
                    self.matched.add(anchor)
    def judge(self, message, commit):
        """Whether it is the next valid commit; false if nothing is wrong with it but that it comes after one that is not."""
        head, own, signature = commit.head, commit.own, commit.signature
        place = (self.origin, message.seq, message.subject, self.next_stream or self.stream or message.stream)
        need((head['origin'], head['seq'], head['subject'], message.stream) == place, 'origin, seq, subject or stream')
        signed, is_ordinary = b'chatelaine/sign/v1\0' + commit.head_bytes, own in (None, 'LedgerRolled')
        is_of_epoch = self.epoch_key and (head['epoch'], commit.kid) == (self.epoch, to_kid(self.epoch_key))
        need(not (is_ordinary and is_of_epoch) or is_signed(self.epoch_key, signed, signature), 'not signed by the epoch key')
        if self.gap is not None and own != 'LedgerRecovered':
            return False
        need(head['prev'] == self.hash and head['first'] == self.events, 'head.prev or first do not go on from what is before')
        need((self.expects == 'genesis') == (own == 'LedgerCreated'), 'LedgerCreated comes first, and only there')
        if is_ordinary:  # Its signature was checked above if it claims the epoch.
            need(self.expects == 'append' and is_of_epoch, 'epoch or kid are not those of an open epoch')
        elif own == 'EpochOpened':
            self.open_epoch(commit, head, commit.data, signed)
        else:
            need((head['epoch'], commit.kid) == (self.epoch, to_kid(self.root)), 'epoch or kid are not the root\'s')
            need(is_signed(self.root, signed, signature), 'the signature is not by the root')
            self.change(own, head, commit.data)
        self.next_stream = commit.data['next_stream'] if own == 'LedgerRolled' else None
        self.seq, self.stream, self.events = message.seq, message.stream, self.events + commit.events
        self.commits, self.unknown = self.commits + 1, self.unknown + commit.unknown
        self.hash = blake3(b'chatelaine/commit/v1\0' + commit.envelope)
        self.grow([commit.envelope])
        self.matched |= {one for one in self.anchors if not one.note and one.index < commit.events
                         and (one.size, one.hash) == (self.seq, self.hash.hex())}
        return True
    def open_epoch(self, commit, head, data, signed):
        key = to_key(data['public_key'])
        need(head['epoch'] == self.epoch + 1 and data['kid'] == commit.kid == to_kid(key), 'epoch or kid of EpochOpened')
        need(is_signed(key, signed, commit.signature), 'the signature is not by the new epoch key')
        attested = msgpack.packb([self.origin, head['epoch'], head['seq'], head['prev'], commit.kid, key])
        need(is_signed(self.root, b'chatelaine/epoch/v1\0' + attested, data['attestation']), 'attestation not by the root')
        self.epoch, self.epoch_key, self.expects = head['epoch'], key, 'append'
    def change(self, own, head, data):
        if own == 'LedgerCreated':
            need(head['seq'] == 1 and data['root_public_key'] == self.root, 'not at sequence 1, or not of the pinned root')
            self.expects = 'epoch'
        elif own == 'RootRotated':
            key = to_key(data['public_key'])
            attested = b'chatelaine/root/v1\0' + msgpack.packb([self.origin, head['seq'], head['prev'], key])
            need(self.expects != 'epoch' and is_signed(key, attested, data['signature_new']), 'too early, or signature_new')
            self.root, self.expects = key, 'epoch'
        else:
            span, gap = (self.seq + 1, head['seq'] - 1), self.gap or hashlib.sha256()
            need((data['from'], data['to']) == span, f'from and to do not name the sequences {span[0]} to {span[1]}')
            need(data['digest'] == gap.digest(), 'the digest is not of what stands there')
            self.gap, self.curable, self.consequences, self.expects = None, [], 0, 'epoch' if self.expects == 'epoch' else 'recovered'
            self.recovered.append((*span, data['reason']))
            self.lost |= {(item['size'], item['hash']) for item in data['lost']}
    def finish(self):
        """Exit code, verdict and findings."""
        last, best = self.reached, Anchor('', 0, '')
        self.lasting += [] if last > 0 else [(1, 'the ledger is empty')]
        for anchor in (anchor for anchor in self.anchors if (anchor.size, anchor.hash) not in self.lost):
            if anchor not in self.matched:
                what = 'shorter than anchor' if anchor.size > last else 'not what the anchor remembers'
                self.lasting.append((min(anchor.size, last + 1), f'{what} ({anchor.name} at {anchor.size})'))
            elif anchor.vouches and anchor.size > best.size:
                best = anchor
        findings = sorted(self.lasting + self.curable, key=lambda finding: finding[0])
        verdicts = [f'ok to {last}, anchored by {best.name}', f'unanchored tail {best.size + 1}..{last}',
                    findings and 'FAIL at {}: {}'.format(*findings[0])]
        code = 2 if findings else int(best.size != last)
        return code, verdicts[code], findings
# --- Exports ---
WRITTEN = re.compile(rb'(\{"stream":"[A-Za-z0-9_-]{1,255}","seq":[1-9][0-9]{0,15},"subject":"[A-Za-z0-9_.-]{1,255}",'
                     rb'"message":"[A-Za-z0-9+/]*={0,2}")[,}]')
def read_line(line):
    written = WRITTEN.match(line)  # What follows the fourth member is not looked at.
    value = read_json(written[1] + b'}' if written else line)
    need(fits(value, {'stream': str, 'seq': int, 'subject': str, 'message': str}) and value['seq'] > 0, 'a member is missing')
    return Message(value['stream'], value['seq'], value['subject'], read_base64(value['message']))
def read_base64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, 'not the one form of base64 that an encoder makes')
    return data
def read_json(text):
    value = json.loads(text.decode(), object_pairs_hook=to_map, parse_float=int, parse_constant=int)  # int refuses them
    json.dumps(check(value, LINE_DEPTH_MAX, lax=True), ensure_ascii=False).encode()  # fails on half of a surrogate pair
    return value
def read_export(ledger, lines):
    """`lines` is a binary file. Empty lines are nothing; after one that is too long nothing is read."""
    while line := lines.readline(LINE_MAX + 2):
        line = line.removesuffix(b'\n')
        if len(line) > LINE_MAX:
            return ledger.lasting.append((ledger.reached + 1, 'a line is too long'))
        try:
            line and ledger.add(read_line(line))
        except (ValueError, RecursionError) as error:
            ledger.lasting.append((ledger.reached + 1, f'not an export line: {error}'))
# --- What is trusted, and the run ---
def to_key_id(name, key):
    return sha256(name.encode(), b'\n\1', key)[:4]
def read_key(text):
    """Origin and root public key of a pin."""
    match = re.fullmatch(r'([a-z0-9-]{1,32}/[0-9a-f]{16})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})\n?', text) or need(False, 'root key')
    typed = read_base64(match[3])
    need(typed[0] == 1 and to_key_id(match[1], typed[1:]).hex() == match[2], 'the key id is not of name and key')
    return match[1], to_key(typed[1:])
def to_anchor(name, size, value, index=0):
    need(fits(size, int) and size > 0 and fits(index, int) and re.fullmatch('[0-9a-f]{64}', value), f'{name} is no anchor')
    return Anchor(name, size, value, index)
def read_checkpoint(name, data, origin, vouches=True):
    text, gap, lines = data.decode().rpartition('\n\n')
    signatures = [re.fullmatch('\u2014 ([^ +\\s]+) ([A-Za-z0-9+/=]+)', line) for line in lines[:-1].split('\n')]
    need(len(data) <= 65536 and not re.search(rb'[\0-\x09\x0b-\x1f]', data) and gap and lines.endswith('\n')
         and len(signatures) <= 100 and all(signatures), f'{name} is not a signed note')
    signed = tuple((line[1], read_base64(line[2])[:4], read_base64(line[2])[4:]) for line in signatures)
    of, size, root, *more = (text + '\n').split('\n')
    need(of == origin and re.fullmatch('[1-9][0-9]{0,15}', size) and int(size) <= UINT_MAX and all(more[:-1]), f'{name}: its text')
    need(len(read_base64(root)) == 32 and all(signature for _, _, signature in signed), f'{name}: root or signatures')
    return Anchor(name, int(size), read_base64(root).hex(), 0, ((text + '\n').encode(), signed), vouches)
def to_anchors(flags, origin):
    receipts, heads = ([json.loads(path.read_bytes()) for path in paths] for paths in (flags.receipt, flags.head_file))
    need(all((head['v'], head['origin']) == (1, origin) for head in heads), 'a head file is of another ledger')
    pairs = [re.fullmatch('([1-9][0-9]{0,15}):(.*)', text) or need(False, 'an anchor is size:hash') for text in flags.anchor]
    return [*(to_anchor('--anchor', int(pair[1]), pair[2]) for pair in pairs),
            *(to_anchor('receipt', receipt['seq'], receipt['hash'], receipt['index']) for receipt in receipts),
            *(to_anchor('head file', head['size'], head['hash']) for head in heads),
            *(read_checkpoint('checkpoint', path.read_bytes(), origin) for path in flags.checkpoint)]
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('paths', nargs='+', type=Path, help='exports, or directories of an archive; /dev/stdin is one too')
    parser.add_argument('--root-key', required=True, help='a verifier key, or a file with one')
    for flag, kind in (('--anchor', str), ('--receipt', Path), ('--head-file', Path), ('--checkpoint', Path)):
        parser.add_argument(flag, action='append', default=[], type=kind, help='may be repeated')
    parser.error = lambda text: need(False, text)
    flags = parser.parse_args()
    types = json.loads(Path(__file__).resolve().parent.joinpath('../schemas/json/events.json').read_bytes())
    origin, root = read_key(Path(flags.root_key).read_text() if Path(flags.root_key).is_file() else flags.root_key)
    found = [(path, name) for path in flags.paths for name in (sorted(path.iterdir()) if path.is_dir() else [path])]
    names = [name for path, name in found if name == path or re.fullmatch('[0-9]{8}[.](jsonl|checkpoint)', name.name)]
    kept = [read_checkpoint(str(name), name.read_bytes(), origin, False) for name in names if name.suffix == '.checkpoint']
    ledger = Ledger(origin, root, [*to_anchors(flags, origin), *kept], types)
    for name in (name for name in names if name in flags.paths or name.suffix != '.checkpoint'):
        read_export(ledger, name.open('rb'))
    code, verdict, findings = ledger.finish()
    for line in [*(f'recovered {a}..{b}: {json.dumps(why)}' for a, b, why in ledger.recovered),
                 *(f'FAIL at {seq}: {reason}' for seq, reason in findings),
                 f'{ledger.commits} valid commits, {ledger.consequences} that follow a bad one, {ledger.events} events, '
                 f'{ledger.unknown} of unknown types, epoch {ledger.epoch}, head {ledger.hash.hex()}', verdict]:
        print(line)
    return code
if __name__ == '__main__':
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f'could not run: {error}', file=sys.stderr)
        sys.exit(3)
