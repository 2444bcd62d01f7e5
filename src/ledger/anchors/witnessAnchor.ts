import { LIMITS } from '../../../schemas/limits.ts'
import { parseCheckpointText } from '../../core/checkpoint.ts'
import {
  formatNote,
  type NoteKey,
  type NoteSignature,
  parseSignatures,
  type SignedNote,
  verifyNote,
} from '../../core/signedNote.ts'
import { describeError } from '../fault.ts'
import type { Anchor, Kept, Recalled } from './anchor.ts'

/** What one `add-checkpoint` brought. */
type Answer =
  | { readonly kind: 'cosigned'; readonly cosignatures: readonly NoteSignature[] }
  /** It has cosigned this size before. */
  | { readonly kind: 'has'; readonly size: number }
  | { readonly kind: 'disagrees'; readonly why: string }
  | { readonly kind: 'unanswered'; readonly why: string }

/**
 * A witness that speaks C2SP tlog-witness over HTTP. `url` is its submission prefix. What it has seen is asked once, by a
 * checkpoint from size 0; afterwards each one goes on from the last it cosigned, and where it says another size (409) it is
 * tried once more from there.
 */
export const createWitnessAnchor = (url: string, key: NoteKey): Anchor => {
  const address = `${url.replace(/\/$/, '')}/add-checkpoint`
  /** Size of the last checkpoint that it cosigned, as far as is known. */
  let seen: number | undefined

  const submit = async (
    note: SignedNote,
    from: { readonly size: number; readonly proof: readonly Uint8Array[] },
    signal: AbortSignal,
  ): Promise<Answer> => {
    try {
      const body = `old ${from.size}\n${from.proof.map((hash) => `${toBase64(hash)}\n`).join('')}\n${formatNote(note)}`
      const response = await fetch(address, { method: 'POST', body, signal, redirect: 'error' })
      return await readAnswer(response, note, key)
    } catch (error) {
      return { kind: 'unanswered', why: describeError(error) }
    }
  }
  return {
    name: `witness ${key.name}`,
    witness: key,
    async recall(last, signal): Promise<Recalled> {
      // A witness tells what it has seen only to who shows a checkpoint; before the first one there is nothing to see.
      if (last === undefined) return { kind: 'nothing' }
      const answer = await submit(last, { size: 0, proof: [] }, signal)
      switch (answer.kind) {
        case 'has':
          seen = answer.size
          return { kind: 'remembers', what: { size: answer.size } }
        case 'cosigned':
          seen = sizeOf(last)
          return { kind: 'remembers', what: { size: seen } }
        case 'disagrees':
        case 'unanswered':
          return { kind: 'unanswered', why: answer.why }
        default:
          return answer satisfies never
      }
    },
    async keep({ note, checkpoint }, tree, signal): Promise<Kept> {
      const { size } = checkpoint
      const from = (oldSize: number) => ({ size: oldSize, proof: tree.consistency(oldSize, size) })
      const beyond = (has: number): Kept => ({
        kind: 'ahead',
        why: `it has cosigned size ${has}, and the ledger has only ${size} commits`,
      })
      if (seen !== undefined && seen > size) return beyond(seen)
      let answer = await submit(note, from(seen ?? 0), signal)
      if (answer.kind === 'has') {
        seen = answer.size
        if (seen > size) return beyond(seen)
        answer = await submit(note, from(seen), signal)
      }
      if (answer.kind === 'has') return { kind: 'unanswered', why: 'somebody else submits checkpoints at this moment' }
      if (answer.kind !== 'cosigned') return answer
      seen = size
      return { kind: 'kept', cosignatures: answer.cosignatures }
    },
  }
}

const readAnswer = async (response: Response, note: SignedNote, key: NoteKey): Promise<Answer> => {
  const body = await readBounded(response)
  switch (response.status) {
    case 200:
      return readCosignatures(body, note, key)
    case 409: {
      const isSize = response.headers.get('content-type') === 'text/x.tlog.size'
      const size = isSize ? /^(0|[1-9][0-9]{0,15})\n$/.exec(body.toString('latin1'))?.[1] : undefined
      return size === undefined
        ? { kind: 'disagrees', why: 'it has cosigned another root at this size' }
        : { kind: 'has', size: Number(size) }
    }
    case 422:
      return { kind: 'disagrees', why: 'it has cosigned another history: the proof does not lead on from it' }
    case 404:
      return { kind: 'unanswered', why: 'it does not know this ledger (404)' }
    case 403:
      return { kind: 'unanswered', why: 'it was told another root key of this ledger (403)' }
    default:
      return { kind: 'unanswered', why: `it answered ${response.status}` }
  }
}

/** Only signatures of the configured key count, and only those that verify. */
const readCosignatures = (body: Uint8Array, note: SignedNote, key: NoteKey): Answer => {
  const signatures = parseSignatures(body)
  const verified = signatures.ok ? verifyNote({ text: note.text, signatures: signatures.value }, [key]) : signatures
  return verified.ok
    ? { kind: 'cosigned', cosignatures: verified.value.map(({ signature }) => signature) }
    : { kind: 'unanswered', why: `its cosignature does not hold: ${verified.error}` }
}

const readBounded = async (response: Response): Promise<Buffer> => {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response.body ?? []) {
    length += part.length
    if (length > LIMITS.noteBytesMax) throw new Error('the answer is too long')
    parts.push(part)
  }
  return Buffer.concat(parts)
}

const sizeOf = (note: SignedNote): number => {
  const checkpoint = parseCheckpointText(note.text)
  return checkpoint.ok ? checkpoint.value.size : 0
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
