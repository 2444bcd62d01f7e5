import { headers, type NatsConnection } from '@nats-io/transport-node'
import { STREAM_SNAPSHOTS, SUBJECT_SNAPSHOTS } from '../../../schemas/events.ts'
import { LIMITS } from '../../../schemas/limits.ts'

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
  const ask = async (subject: string, payload: Uint8Array | string, options: object = {}): Promise<unknown> => {
    const answer = await connection.request(subject, payload, { timeout: LIMITS.natsRequestTimeoutMs, ...options })
    return JSON.parse(answer.string())
  }
  const read = async (subject: string): Promise<Uint8Array | undefined> => {
    const answer = await ask(GET, JSON.stringify({ last_by_subj: subject }))
    const error = memberOf(answer, 'error')
    if (memberOf(error, 'err_code') === NO_MESSAGE_FOUND) return undefined
    if (error !== undefined) throw new Error(toReason(error))
    const data = memberOf(memberOf(answer, 'message'), 'data')
    return Buffer.from(typeof data === 'string' ? data : '', 'base64')
  }
  const write = async (subject: string, payload: Uint8Array | string): Promise<void> => {
    const fields = headers()
    fields.set('Nats-Expected-Stream', STREAM_SNAPSHOTS)
    const answer = await ask(subject, payload, { headers: fields })
    const error = memberOf(answer, 'error')
    if (error !== undefined) throw new Error(toReason(error))
    if (typeof memberOf(answer, 'seq') !== 'number') throw new Error('the acknowledgement names no sequence')
  }
  return {
    manifest: (slot) => read(`${SUBJECT_SNAPSHOTS}.${slot}.manifest`),
    piece: (slot, index) => read(`${SUBJECT_SNAPSHOTS}.${slot}.${index}`),
    putPiece: (slot, index, piece) => write(`${SUBJECT_SNAPSHOTS}.${slot}.${index}`, piece),
    putManifest: (slot, manifest) => write(`${SUBJECT_SNAPSHOTS}.${slot}.manifest`, manifest),
  }
}

const GET = `$JS.API.STREAM.MSG.GET.${STREAM_SNAPSHOTS}`
const NO_MESSAGE_FOUND = 10037
const STREAM_NOT_FOUND = 10059

const toReason = (error: unknown): string =>
  memberOf(error, 'err_code') === STREAM_NOT_FOUND
    ? `there is no stream ${STREAM_SNAPSHOTS}; run init`
    : `${memberOf(error, 'err_code')} ${memberOf(error, 'description')}`

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined
