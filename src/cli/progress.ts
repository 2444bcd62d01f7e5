import { LIMITS } from '../../schemas/limits.ts'
import type { Terminal } from './terminal.ts'

/** Passes items on and shows on a person's terminal how many have gone by; silent otherwise. */
export async function* showProgress<T>(
  { stderr, showsProgress }: Pick<Terminal, 'stderr' | 'showsProgress'>,
  items: AsyncIterable<T>,
  toText: (count: number, item: T) => string,
): AsyncGenerator<T> {
  if (!showsProgress) return yield* items
  let count = 0
  let nextMs = Date.now() + LIMITS.cliProgressMs
  try {
    for await (const item of items) {
      yield item
      count++
      if (Date.now() < nextMs) continue
      nextMs = Date.now() + LIMITS.cliProgressMs
      stderr.write(`\r\u001b[K${toText(count, item)}`)
    }
  } finally {
    stderr.write('\r\u001b[K')
  }
}
