import { parseChainPosition, toChainPosition } from '../core/chainPosition.ts'
import type { ChainState, Pin } from '../core/chainState.ts'
import type { CompactRange } from '../core/compactRange.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import { ok, type Result } from '../core/result.ts'
import { parseStrictJson } from '../core/strictJson.ts'

/** A ledger that a run has found good, as far as it was read: where a later run may go on. Whoever trusts it trusts that run. */
export interface ResumePoint {
  readonly chain: ChainState
  readonly range: CompactRange
  readonly commits: number
  readonly unknownEvents: number
  /** Events of the last commit. */
  readonly lastCount: number
  /** Anchors that recoveries have given up. */
  readonly lost: readonly Anchor[]
  readonly recovered: readonly { readonly from: number; readonly to: number; readonly reason: string }[]
  readonly anchoredTo: number
  readonly anchoredBy: string | undefined
}

/** The point as the text of a file, which holds no secret. */
export const formatResumePoint = (point: ResumePoint, pin: Pin): string => {
  const { chain, range, commits, unknownEvents, lastCount, lost, recovered, anchoredTo, anchoredBy } = point
  return `${JSON.stringify({
    ...{ v: 1, pinned_root: toHex(pin.rootPublicKey), chain: toChainPosition(chain), tree: range.hashes.map(toHex) },
    ...{ commits, unknown_events: unknownEvents, last_count: lastCount, lost, recovered },
    ...{ anchored_to: anchoredTo, anchored_by: anchoredBy },
  })}\n`
}

/** Reads what {@link formatResumePoint} wrote for the same pin. Says in words what is wrong. */
export const parseResumePoint = (text: string, pin: Pin): Result<ResumePoint, string> => {
  const parsed = parseStrictJson(Buffer.from(text), STATE_DEPTH_MAX)
  if (!parsed.ok || !isObject(parsed.value) || parsed.value['v'] !== 1)
    return bad('it is not a state file of this version')
  const file = parsed.value
  if (file['pinned_root'] !== toHex(pin.rootPublicKey)) return bad('it is of another ledger')
  const position = parseChainPosition(file['chain'], pin)
  if (!position.ok) return position
  const chain = position.value
  const tree = toList(file['tree'], toHash)
  const lost = toList(file['lost'], toAnchor)
  const recovered = toList(file['recovered'], toRecovery)
  const { commits, unknown_events: unknownEvents, last_count: lastCount, anchored_to: anchoredTo } = file
  if (!isUint(commits) || !isUint(unknownEvents) || !isUint(lastCount) || !isUint(anchoredTo)) return bad(MALFORMED)
  if (chain.seq === 0 || tree === undefined || lost === undefined || recovered === undefined) return bad(MALFORMED)
  if (tree.length !== countOnes(chain.seq)) return bad(MALFORMED)
  const anchoredBy = toText(file['anchored_by'])
  const range = { size: chain.seq, hashes: tree }
  return ok({ chain, range, commits, unknownEvents, lastCount, lost, recovered, anchoredTo, anchoredBy })
}

type Fields = Readonly<Record<string, unknown>>

const STATE_DEPTH_MAX = 4
const MALFORMED = 'it is malformed'

const bad = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

const toHash = (value: unknown): Uint8Array | undefined =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value) ? new Uint8Array(Buffer.from(value, 'hex')) : undefined

const toAnchor = (value: unknown): Anchor | undefined => {
  if (!isObject(value)) return undefined
  const { size, hash } = value
  return isUint(size) && typeof hash === 'string' ? { size, hash } : undefined
}

const toRecovery = (value: unknown): ResumePoint['recovered'][number] | undefined => {
  if (!isObject(value)) return undefined
  const { from, to, reason } = value
  return isUint(from) && isUint(to) && typeof reason === 'string' ? { from, to, reason } : undefined
}

/** All items read, or undefined if one cannot be. */
const toList = <T>(value: unknown, read: (item: unknown) => T | undefined): readonly T[] | undefined => {
  if (!Array.isArray(value)) return undefined
  const items = value.map(read)
  return items.every((item) => item !== undefined) ? items : undefined
}

const toText = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

const countOnes = (size: number): number => size.toString(2).replaceAll('0', '').length

const isUint = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
