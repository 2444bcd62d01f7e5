import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { type Folded, listFolds, startSnapshotReader, toSnapshotRows } from '../../../projections/snapshot.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { Bytes, Fields } from '../../../schemas/primitives.ts'
import { toChainPosition } from '../../core/chainPosition.ts'
import type { CompactRange } from '../../core/compactRange.ts'
import { encodeMsgpack } from '../../core/encodeMsgpack.ts'
import { copyBytes } from '../../core/eventCheck.ts'
import type { Anchor } from '../../core/ledgerEvents.ts'
import { ok, type Result } from '../../core/result.ts'
import { decodeStrictMsgpack } from '../../core/strictMsgpack.ts'
import type { Tip } from '../tip.ts'

/** What the state of a snapshot holds: all of a tip but what its commit says itself. */
export interface SnapshotState {
  /** Has still to be compared with what the commit at the snapshot's sequence makes of the chain. */
  readonly position: unknown
  readonly range: CompactRange
  readonly lost: readonly Anchor[]
  readonly folded: Folded
}

/** The bytes of a tip's state, piece by piece: u32le length ‖ MessagePack, first a header, then the rows of the view. */
export function* encodeState({ chain, tree: { range }, lost, view }: Tip): Generator<Buffer> {
  yield toFrame({
    folds: listFolds(),
    position: toChainPosition(chain),
    size: range.size,
    hashes: range.hashes,
    lost: lost.map(({ size, hash }) => ({ size, hash })),
  })
  for (const row of toSnapshotRows(view)) yield toFrame(row)
}

const toFrame = (value: unknown): Buffer => {
  const bytes = encodeMsgpack(value)
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32LE(bytes.length)
  return Buffer.concat([length, bytes])
}

const LENGTH_BYTES = 4

/** Reads what {@link encodeState} gave, however it was cut into pieces. Says in words what does not fit. */
export const createStateReader = (): {
  add(piece: Uint8Array): Result<void, string>
  finish(): Result<SnapshotState, string>
} => {
  const rows = startSnapshotReader()
  let header: Omit<SnapshotState, 'folded'> | undefined
  let rest: Buffer = Buffer.alloc(0)

  const take = (frame: Uint8Array): Result<void, string> => {
    const decoded = decodeStrictMsgpack(frame, RULES)
    if (!decoded.ok) return decoded
    // The rows live on in the view: their bytes must not keep the pieces alive.
    const value = copyBytes(decoded.value)
    if (header !== undefined) return rows.take(value) ? ok(undefined) : wrong('a row does not fit')
    const read = readHeader(value)
    if (read.ok) header = read.value
    return read.ok ? ok(undefined) : read
  }
  return {
    add(piece) {
      rest = Buffer.concat([rest, piece])
      let at = 0
      while (rest.length - at >= LENGTH_BYTES) {
        const end = at + LENGTH_BYTES + rest.readUInt32LE(at)
        if (end > rest.length) break
        const taken = take(rest.subarray(at + LENGTH_BYTES, end))
        if (!taken.ok) return taken
        at = end
      }
      rest = Buffer.from(rest.subarray(at))
      return ok(undefined)
    },
    finish() {
      if (rest.length > 0 || header === undefined) return wrong('it ends in the middle')
      const folded = rows.finish()
      return folded === undefined ? wrong('rows are missing') : ok({ ...header, folded })
    },
  }
}

const wrong = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

const RULES = { depthMax: LIMITS.eventDepthMax + 8, allowFloats: false, allowNil: false } as const

const Header = Fields({
  folds: Type.Array(Type.String()),
  position: Type.Unknown(),
  size: Type.Integer({ minimum: 0 }),
  hashes: Type.Array(Bytes(32, 32)),
  lost: Type.Array(Fields({ size: Type.Integer({ minimum: 0 }), hash: Type.String() })),
})

const readHeader = (value: unknown): Result<Omit<SnapshotState, 'folded'>, string> => {
  if (!Compile(Header).Check(value)) return wrong('its header has another form')
  if (JSON.stringify(value.folds) !== JSON.stringify(listFolds()))
    return wrong('it was made by a program that folds events otherwise, or knows others')
  const { position, size, hashes, lost } = value
  return ok({ position, range: { size, hashes }, lost })
}
