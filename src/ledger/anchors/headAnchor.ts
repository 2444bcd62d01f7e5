import { formatNote, parseNote, type SignedNote } from '../../core/signedNote.ts'
import { readIfThere, replaceFile } from '../durableFile.ts'
import { describeError } from '../fault.ts'
import type { HeadFile } from '../headFile.ts'
import type { Anchor } from './anchor.ts'
import { rememberNote } from './remember.ts'

/**
 * The files of this machine: the head file, which follows the ledger by a second, and beside it the newest checkpoint with
 * its cosignatures. Both are replaced atomically and on the disk before it answers.
 */
export const createHeadAnchor = (headFile: HeadFile, checkpointFile: string, origin: string): Anchor => ({
  name: 'checkpoint file',
  async recall() {
    try {
      const note = await readCheckpointFile(checkpointFile)
      if (note === undefined) return { kind: 'nothing' }
      const remembered = rememberNote(note, origin)
      return remembered.ok
        ? { kind: 'remembers', what: remembered.value }
        : { kind: 'unanswered', why: `${checkpointFile}: ${remembered.error}` }
    } catch (error) {
      return { kind: 'unanswered', why: describeError(error) }
    }
  },
  async keep({ note }) {
    try {
      await replaceFile(checkpointFile, formatNote(note))
      await headFile.write()
      return { kind: 'kept', cosignatures: [] }
    } catch (error) {
      return { kind: 'unanswered', why: describeError(error) }
    }
  },
})

/** The newest checkpoint that this machine remembers; nothing if there is none. Throws what the file system throws, and for what is no note. */
export const readCheckpointFile = async (path: string): Promise<SignedNote | undefined> => {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  const note = parseNote(Buffer.from(text))
  if (!note.ok) throw new Error(`${path} is not a checkpoint: ${note.error}`)
  return note.value
}
