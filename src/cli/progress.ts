import { LIMITS } from '../../schemas/limits.ts'
import type { Terminal } from './terminal.ts'

/** How far something is, in whatever unit it counts. */
export interface Progress {
  readonly what: string
  readonly done: number
  /** Absent where the end is not known. */
  readonly total?: number
}

/** Passes items on and shows on a person's terminal how far it is, how fast and how long it will take; silent otherwise. */
export async function* showProgress<T>(
  { stderr, showsProgress }: Pick<Terminal, 'stderr' | 'showsProgress'>,
  items: AsyncIterable<T>,
  toProgress: (item: T) => Progress,
): AsyncGenerator<T> {
  if (!showsProgress) return yield* items
  const beganMs = performance.now()
  let first: number | undefined
  let nextMs = beganMs + LIMITS.cliProgressMs
  try {
    for await (const item of items) {
      yield item
      const progress = toProgress(item)
      first ??= progress.done
      const nowMs = performance.now()
      if (nowMs < nextMs) continue
      nextMs = nowMs + LIMITS.cliProgressMs
      const perSecond = ((progress.done - first) / (nowMs - beganMs)) * 1000
      stderr.write(`\r\u001b[K${formatProgress(progress, perSecond)}`)
    }
  } finally {
    stderr.write('\r\u001b[K')
  }
}

/** One line: what, a bar, the rate, the time left. */
export const formatProgress = ({ what, done, total }: Progress, perSecond: number): string => {
  const rate = `${Math.round(perSecond).toLocaleString('en')}/s`
  if (total === undefined || total <= 0) return `${what} ${done.toLocaleString('en')}, ${rate}`
  const share = Math.min(1, done / total)
  const bar = '#'.repeat(Math.round(share * BAR_CHARS)).padEnd(BAR_CHARS, '.')
  const left = perSecond > 0 ? `, ${formatSeconds((total - done) / perSecond)} left` : ''
  return `${what} [${bar}] ${Math.floor(share * 100)} %, ${rate}${left}`
}

const BAR_CHARS = 30

const formatSeconds = (seconds: number): string => {
  const whole = Math.max(0, Math.ceil(seconds))
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
