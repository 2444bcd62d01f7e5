import { decodeCommit } from '../core/commit.ts'
import type { CommitStream } from './commitStream.ts'

/** The time in the commit at `seq` minus the time at which the storage took it; nothing if either is not to be had. */
export const measureClockSkew = async (stream: CommitStream, seq: number): Promise<number | undefined> => {
  const back = await stream.readBack(seq)
  if (back.kind !== 'found' || back.message.storedAtMs === undefined) return undefined
  const commit = decodeCommit(back.message.payload)
  return commit.ok ? commit.value.head.timeMs - back.message.storedAtMs : undefined
}
