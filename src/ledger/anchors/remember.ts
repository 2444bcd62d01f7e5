import { parseCheckpointText } from '../../core/checkpoint.ts'
import { ok, type Result } from '../../core/result.ts'
import type { SignedNote } from '../../core/signedNote.ts'
import type { Remembered } from './anchor.ts'

/** What a stored checkpoint note says, if it is of this ledger. Its signature is compared later, when the root keys are known. */
export const rememberNote = (note: SignedNote, origin: string): Result<Remembered, string> => {
  const checkpoint = parseCheckpointText(note.text)
  if (!checkpoint.ok) return checkpoint
  if (checkpoint.value.origin !== origin)
    return { ok: false, error: `it holds a checkpoint of ${checkpoint.value.origin}, not of ${origin}` }
  return ok({ size: checkpoint.value.size, root: checkpoint.value.root, note })
}
