import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { LIMITS } from '../../schemas/limits.ts'
import { type Batch, createBatchReader, type ReadItem, type ReadOptions } from './readBatch.ts'

/** A batch that was read. The bytes are those that were given, which may have been away in another thread. */
export interface FinishedBatch {
  readonly bytes: Uint8Array
  readonly items: readonly ReadItem[]
}

/** Reads batches, several at once if there are threads. */
export interface Readers {
  /** How many batches are worth having in flight. */
  readonly width: number
  /** Takes the bytes over: they must fill their buffer. Rejects if a thread dies. */
  read(batch: Batch, options: ReadOptions): Promise<FinishedBatch>
  close(): Promise<void>
}

/** As many threads as there are cores, of which the asking one needs next to nothing. */
export const toThreadCount = (): number => Math.min(availableParallelism(), LIMITS.verifyThreadsMax)

/**
 * Readers in `threads` threads, or for 0 in this one. The first `inlineBatches` are read in this one in any case: most ledgers
 * are small, and a thread takes longer to start than they take to read.
 */
export const createReaders = (threads: number, inlineBatches = 1): Readers =>
  threads === 0 ? createInline() : createPool(threads, inlineBatches)

const createInline = (): Readers => {
  const reader = createBatchReader()
  return {
    width: 1,
    read: async (batch, options) => ({ bytes: batch.bytes, items: reader.read(batch, options) }),
    close: async () => undefined,
  }
}

const createPool = (threads: number, inlineBatches: number): Readers => {
  const inline = createInline()
  let left = inlineBatches
  const pool: ReturnType<typeof createThread>[] = []
  let next = 0
  let isClosed = false
  return {
    width: threads,
    read(batch, options) {
      if (isClosed) return Promise.reject(new Error(ENDED))
      if (left > 0) {
        left--
        return inline.read(batch, options)
      }
      // A thread is started when there is a batch for it.
      const index = next++ % threads
      const thread = pool[index] ?? createThread()
      pool[index] = thread
      return thread.read(batch, options)
    },
    async close() {
      isClosed = true
      await Promise.all(pool.map(({ close }) => close()))
    },
  }
}

const ENDED = 'a thread of the verifier ended'

interface Waiter {
  resolve(finished: FinishedBatch): void
  reject(error: unknown): void
}

const createThread = () => {
  const worker = new Worker(...toBody())
  const waiting: Waiter[] = []
  let fault: unknown
  const fail = (error: unknown): void => {
    fault ??= error
    for (const { reject } of waiting.splice(0)) reject(error)
  }
  // A thread answers in the order in which it was asked.
  worker.on('message', (finished: FinishedBatch) => waiting.shift()?.resolve(finished))
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error(ENDED)))
  return {
    read(batch: Batch, options: ReadOptions): Promise<FinishedBatch> {
      if (fault !== undefined) return Promise.reject(fault)
      const { buffer } = batch.bytes
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        worker.postMessage({ batch, options }, buffer instanceof ArrayBuffer ? [buffer] : [])
      })
    },
    async close(): Promise<void> {
      await worker.terminate()
    },
  }
}

/** From sources a thread needs a loader, which does not come along with this thread's; built, it needs none. */
const toBody = (): ConstructorParameters<typeof Worker> => {
  const isSource = import.meta.url.endsWith('.ts')
  const script = new URL(isSource ? './readerThread.ts' : './readerThread.js', import.meta.url)
  // Bounded, or a thread of a long run takes 20 MiB more than one of a short run and gains nothing by it.
  const resourceLimits = { maxYoungGenerationSizeMb: LIMITS.verifyThreadYoungHeapMib }
  if (!isSource) return [script, { execArgv: [], resourceLimits }]
  // Not by the name tsx/esm/api: for require that is another file, which cannot do it.
  const manifest = pathToFileURL(createRequire(import.meta.url).resolve('tsx/package.json'))
  const loader = new URL('./dist/esm/api/index.mjs', manifest).href
  const program = `import('${loader}').then(({ register }) => (register(), import('${script.href}')))`
  return [program, { eval: true, execArgv: [], resourceLimits }]
}
