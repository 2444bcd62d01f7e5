import { LIMITS } from '../limits.ts'
import { Fields, Lid, Text } from '../primitives.ts'
import { claim, count, state, version } from './eventType.ts'

const job = { job_id: Text(64, 64), lid: Lid, ...claim }

/** What became of the jobs that a `KeyRotated` opened, one for each living descendant. */
export const ROTATION_JOB_EVENTS = {
  RotationJobAcknowledged: state(Fields(job)),
  RotationJobCompleted: state(Fields(job)),
  RotationJobFailed: state(Fields({ ...job, reason: Text(1, LIMITS.reasonBytesMax) })),
  /** All jobs of one rotation that nobody had ended; `lid` is the rotated key. */
  RotationJobsExpired: state(Fields({ lid: Lid, version, expired: count })),
} as const
