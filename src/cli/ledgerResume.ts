import { access } from 'node:fs/promises'
import { LIMITS } from '../../schemas/limits.ts'
import type { Pin } from '../core/chainState.ts'
import { ok, type Result } from '../core/result.ts'
import { replaceFile } from '../ledger/durableFile.ts'
import type { NamedAnchor } from '../verify/anchors.ts'
import { formatResumePoint, parseResumePoint, type ResumePoint } from '../verify/resumePoint.ts'
import { type CliFault, describeError, misused, unreachable } from './exit.ts'
import { readTextFile } from './terminal.ts'

/** Where an earlier run ended; undefined where there is no such file yet. */
export const readResumeFile = async (
  file: string,
  pin: Pin,
  anchors: readonly NamedAnchor[],
): Promise<Result<ResumePoint | undefined, CliFault>> => {
  if (!(await isThere(file))) return ok(undefined)
  const text = await readTextFile(file, LIMITS.cliTextFileBytesMax)
  if (!text.ok) return unreachable(`--resume: ${text.error}`)
  const point = parseResumePoint(text.value, pin)
  if (!point.ok) return unreachable(`--resume ${file}: ${point.error}`)
  const { seq } = point.value.chain
  const early = anchors.find(({ size }) => size < seq)
  return early === undefined
    ? point
    : misused(
        `the ${early.name} of size ${early.size} lies before ${seq}, where the run resumes: verify without --resume`,
      )
}

/** False only where there is none: one that cannot be read must not be passed over. */
const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
  )

/** Writes where this run ended, at once or not at all. */
export const writeResumeFile = async (file: string, point: ResumePoint, pin: Pin): Promise<Result<void, CliFault>> => {
  try {
    await replaceFile(file, formatResumePoint(point, pin), 0o600)
    return ok(undefined)
  } catch (error) {
    return unreachable(`cannot write --resume ${file}: ${describeError(error)}`)
  }
}
