import type { NatsConnection } from '@nats-io/transport-node'
import { STREAM_SNAPSHOTS, SUBJECT_SNAPSHOTS } from '../../../schemas/streams.ts'
import { must } from '../../core/result.ts'
import { createStreamSubjects } from '../streamSubjects.ts'

/**
 * Where snapshots are: a few slots, each with a manifest and the pieces of a state. Everything throws what the storage
 * throws, and for what the storage says.
 */
export interface SnapshotStore {
  /** The manifest of a slot, as it stands; nothing where there is none. */
  manifest(slot: number): Promise<Uint8Array | undefined>
  /** One piece, from 0; nothing where there is none. */
  piece(slot: number, index: number): Promise<Uint8Array | undefined>
  putPiece(slot: number, index: number, piece: Uint8Array): Promise<void>
  /** Last of all: until then the slot holds what no manifest fits. */
  putManifest(slot: number, manifest: string): Promise<void>
}

/**
 * The stream `KMS_SNAPSHOTS`, which keeps the last message of each subject: a slot is overwritten in place, and nothing has
 * ever to be deleted. The user of `connection` may publish to its subjects and read its messages, and needs nothing else.
 */
export const createSnapshotStore = (connection: NatsConnection): SnapshotStore => {
  const subjects = createStreamSubjects(async () => connection, { stream: STREAM_SNAPSHOTS, makeIt: 'run init' })
  const read = async (subject: string): Promise<Uint8Array | undefined> => {
    const last = await subjects.readLast(subject)
    if (last.kind === 'error') throw new Error(last.why)
    return last.kind === 'found' ? last.payload : undefined
  }
  const write = async (subject: string, payload: Uint8Array | string): Promise<void> => {
    const published = await subjects.publish(subject, payload)
    if (published.kind === 'error') throw new Error(published.why)
    must(published.kind === 'stored', 'a publication that expected nothing was refused for what it expected')
  }
  return {
    manifest: (slot) => read(`${SUBJECT_SNAPSHOTS}.${slot}.manifest`),
    piece: (slot, index) => read(`${SUBJECT_SNAPSHOTS}.${slot}.${index}`),
    putPiece: (slot, index, piece) => write(`${SUBJECT_SNAPSHOTS}.${slot}.${index}`, piece),
    putManifest: (slot, manifest) => write(`${SUBJECT_SNAPSHOTS}.${slot}.manifest`, manifest),
  }
}
