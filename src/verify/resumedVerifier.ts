import { decodeCommit } from '../core/commit.ts'
import type { ResumePoint } from './resumePoint.ts'
import type { Verifier } from './verifier.ts'

/**
 * A verifier that goes on at a point, over a source that begins anywhere up to the message after it. What lies before the
 * point is not read again; the message at it, where the source has it, must be the one that the point remembers.
 */
export const resumeVerifier = (verifier: Verifier, point: ResumePoint): Verifier => {
  const { seq, hash } = point.chain
  let seen = 0
  return {
    ...verifier,
    add(message) {
      seen = Math.max(seen, message.seq)
      if (message.seq > seq) return verifier.add(message)
      if (message.seq < seq || hashAt(message.payload) === Buffer.from(hash).toString('hex')) return undefined
      verifier.addFinding({ seq, reason: 'not the commit that the state file remembers', kind: 'lasting' })
      return undefined
    },
    addVouched: (vouched) => vouched.message.seq > seq && verifier.addVouched(vouched),
    finish(known) {
      const last = known ?? seen
      if (last < seq && last > 0)
        verifier.addFinding({
          seq: last + 1,
          reason: `shorter than the state file, which ends at ${seq}`,
          kind: 'lasting',
        })
      const report = verifier.finish(known)
      return { ...report, lines: [`resumed after ${seq}, which an earlier run has verified`, ...report.lines] }
    },
  }
}

const hashAt = (payload: Uint8Array): string => {
  const commit = decodeCommit(payload)
  return commit.ok ? Buffer.from(commit.value.hash).toString('hex') : ''
}
