import { ERRORS } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { BatchOutcome } from '../../schemas/registry.ts'
import { must, ok } from '../core/result.ts'
import { type ItemOutcome, type Operation, planRecord } from './operation.ts'

export const batch: Operation<'Batch'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:Batch' }]),
  items: ({ operations }) => operations,
  plan({ operations }, { outcomes }) {
    must(outcomes?.length === operations.length, 'a batch is planned once each of its items has an outcome')
    const results = fitReply(outcomes)
    return ok(
      planRecord([], () => ({
        event: { type: 'BatchExecuted', data: { items: results.length, failed: countFailed(results) } },
        resources: [],
        toReply: () => ({ results }),
        secrets: outcomes.flatMap((outcome) => (outcome.ok ? [outcome.secrets] : [])),
      })),
    )
  },
}

const countFailed = (results: readonly BatchOutcome[]): number => results.filter((result) => !result.ok).length

/** The results of a reply that fits into one message. What does not is an error of its item; its record stays. */
const fitReply = (outcomes: readonly ItemOutcome[]): BatchOutcome[] => {
  let bytes = 0
  return outcomes.map((outcome) => {
    if (!outcome.ok) return toFailed(outcome.error)
    const more = estimateBytes(outcome.body)
    if (bytes + more > LIMITS.batchReplyBytesMax) return TOO_LARGE
    bytes += more
    // Each reply is of the operation that made it; the compiler cannot pair the two.
    return { ok: true, operation: outcome.operation, reply: outcome.body } as BatchOutcome
  })
}

const toFailed = ({
  code,
  message,
}: {
  readonly code: keyof typeof ERRORS
  readonly message: string
}): BatchOutcome => ({
  ok: false,
  error: { code, message, retryable: ERRORS[code].retryable },
})

const TOO_LARGE = toFailed({
  code: 'TOO_LARGE',
  message:
    'it was done and recorded, but the replies of the batch are too large for one message; ask for fewer at once',
})

/** Everything in a reply but its bytes: names, ids, the receipt. */
const FIXED_BYTES = 768

/** What a reply takes in JSON at most. */
const estimateBytes = (body: Readonly<Record<string, unknown>>): number =>
  Object.values(body).reduce<number>(
    (sum, member) => (member instanceof Uint8Array ? sum + Math.ceil(member.length / 3) * 4 : sum),
    FIXED_BYTES,
  )
