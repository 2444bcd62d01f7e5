import { STREAM_CHECKPOINTS, SUBJECT_CHECKPOINTS } from '../../schemas/streams.ts'
import { ok, type Result } from '../core/result.ts'
import { createStreamSubjects } from '../ledger/streamSubjects.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { openNats } from './natsLogin.ts'
import type { Settings } from './settings.ts'

/** The newest checkpoint in `KMS_CHECKPOINTS`, as its exact bytes; read as the `auditor` user, who needs no more rights than that. */
export const readNewestCheckpoint = async (settings: Settings): Promise<Result<Uint8Array, CliFault>> => {
  const { servers, tls, auditor, advice } = settings
  if (auditor === undefined) return unreachable('the configuration has no nats.auditor, who may read the checkpoints')
  const opened = await openNats({ servers, tls, ...auditor, advice })
  if (!opened.ok) return opened
  const connection = opened.value
  try {
    const makeIt = 'the checkpoints are kept elsewhere: fetch one there and give it by --checkpoint'
    const subjects = createStreamSubjects(async () => connection, { stream: STREAM_CHECKPOINTS, makeIt })
    const last = await subjects.readLast(SUBJECT_CHECKPOINTS)
    if (last.kind === 'found') return ok(last.payload)
    return unreachable(last.kind === 'absent' ? 'there is no checkpoint yet' : `no checkpoint: ${last.why}`)
  } catch (error) {
    return unreachable(`cannot read ${STREAM_CHECKPOINTS} at ${servers.join(', ')}: ${describeError(error)}`)
  } finally {
    await connection.close()
  }
}
