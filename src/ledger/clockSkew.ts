import type { Clock } from '../core/ports.ts'
import type { CommitStream } from './commitStream.ts'

/**
 * How far the local clock is ahead of the one by which the storage stamps messages. Asked anew each time: the stamp of
 * the newest commit says nothing of a clock that was set since.
 */
export const measureClockSkew = async (stream: CommitStream, clock: Clock): Promise<number | undefined> => {
  const storageMs = await stream.tellTimeMs()
  return storageMs === undefined ? undefined : clock.now() - storageMs
}
