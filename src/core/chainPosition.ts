import type { ChainState, Pin } from './chainState.ts'
import { parseVerifyKey } from './ed25519.ts'
import { must, ok, type Result } from './result.ts'

/**
 * Where a reader of the ledger has come to, as JSON that it keeps and goes on from: all that the rules of the chain need
 * of what was before. As trustworthy as the place it is kept in: whoever can change it decides what comes next.
 */
export interface ChainPosition {
  readonly v: 1
  readonly origin: string
  readonly stream?: string
  /** The last commit that was read whole, and its hash in hex. */
  readonly seq: number
  readonly hash: string
  /** Events up to there. */
  readonly events: number
  readonly epoch: number
  /** Raw Ed25519 keys in base64; the epoch's is absent before the first one. */
  readonly root_key: string
  readonly epoch_key?: string
  readonly expects: ChainState['expects']
  readonly next_stream?: string
}

/** Between two commits of an unbroken chain; inside a gap, or with a signature still owed, there is no position. */
export const toChainPosition = (state: ChainState): ChainPosition => {
  must(state.gap === undefined && state.unchecked === undefined, 'there is no position inside a gap')
  return {
    v: 1,
    origin: state.origin,
    ...(state.stream === undefined ? {} : { stream: state.stream }),
    seq: state.seq,
    hash: Buffer.from(state.hash).toString('hex'),
    events: state.events,
    epoch: state.epoch,
    root_key: Buffer.from(state.root.raw).toString('base64'),
    ...(state.epochKey === undefined ? {} : { epoch_key: Buffer.from(state.epochKey.raw).toString('base64') }),
    expects: state.expects,
    ...(state.nextStream === undefined ? {} : { next_stream: state.nextStream }),
  }
}

const EXPECTED: readonly string[] = ['genesis', 'append', 'epoch', 'recovered'] satisfies ChainState['expects'][]

/** Reads a kept position of the pinned ledger. Says in words what is wrong. */
export const parseChainPosition = (json: unknown, pin: Pin): Result<ChainState, string> => {
  if (typeof json !== 'object' || json === null) return wrong('it is not an object')
  const { v, origin, stream, seq, hash, events, epoch, root_key, epoch_key, expects, next_stream } = {
    ...json,
  } as Readonly<Record<keyof ChainPosition, unknown>>
  if (v !== 1) return wrong('v is not 1')
  if (origin !== pin.origin) return wrong('it is of another ledger')
  if (!isCount(seq) || !isCount(events) || !isCount(epoch)) return wrong('seq, events and epoch are counts')
  if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) return wrong('hash is not 64 hex digits')
  if (!isOptionalText(stream) || !isOptionalText(next_stream)) return wrong('a stream is not a name')
  if (!isExpected(expects)) return wrong('expects is not known')
  const root = parseKey(root_key)
  const epochKey = epoch_key === undefined ? undefined : parseKey(epoch_key)
  if (epoch_key === undefined && epoch > 0) return wrong('epoch_key is missing')
  if (!root.ok) return wrong(`root_key: ${root.error}`)
  if (epochKey?.ok === false) return wrong(`epoch_key: ${epochKey.error}`)
  return ok({
    origin: pin.origin,
    root: root.value,
    seq,
    hash: Uint8Array.from(Buffer.from(hash, 'hex')),
    stream,
    events,
    epoch,
    epochKey: epochKey?.value,
    expects,
    nextStream: next_stream,
    gap: undefined,
    unchecked: undefined,
  })
}

const wrong = (rule: string): { readonly ok: false; readonly error: string } => ({
  ok: false,
  error: `not a position in this ledger: ${rule}`,
})

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0

const isOptionalText = (value: unknown): value is string | undefined =>
  value === undefined || (typeof value === 'string' && value.length > 0 && value.length <= 255)

const isExpected = (value: unknown): value is ChainState['expects'] =>
  typeof value === 'string' && EXPECTED.includes(value)

const parseKey = (value: unknown) =>
  typeof value === 'string' && value.length <= 64
    ? parseVerifyKey(Uint8Array.from(Buffer.from(value, 'base64')))
    : ({ ok: false, error: 'it is not base64 of a key' } as const)
