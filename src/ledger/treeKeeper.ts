import type { Telemetry } from '../core/ports.ts'
import { describeError } from './fault.ts'
import type { Growth } from './growth.ts'
import { openTreeFile, type TreeFile } from './treeFile.ts'

/** The tree file of a running ledger. A disk that fails costs the proofs, until the next start, and never a commit. */
export interface TreeKeeper {
  put(growth: Growth): void
  /** Nothing once the file has failed. */
  file(): TreeFile | undefined
  close(): Promise<void>
}

export const createTreeKeeper = (path: string, origin: string, telemetry: Telemetry): TreeKeeper => {
  let file: TreeFile | undefined
  const attempt = (task: () => void): void => {
    try {
      task()
    } catch (error) {
      file = undefined
      telemetry.log('error', 'the tree file failed: there are no proofs until the next start', {
        error: describeError(error),
      })
    }
  }
  attempt(() => {
    file = openTreeFile(path, origin)
  })
  return {
    put(growth) {
      if (file !== undefined) attempt(() => file?.put(growth))
    },
    file: () => file,
    async close() {
      await file
        ?.close()
        .catch((error: unknown) =>
          telemetry.log('error', 'the tree file could not be closed', { error: describeError(error) }),
        )
    },
  }
}
