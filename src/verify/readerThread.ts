import { parentPort } from 'node:worker_threads'
import { must } from '../core/result.ts'
import { type Batch, createBatchReader, type ReadOptions } from './readBatch.ts'

/** A thread that reads batches in the order in which they come, and gives the bytes back with what it found in them. */
const reader = createBatchReader()
const port = parentPort
must(port !== null, 'this file is the body of a thread')
port.on('message', ({ batch, options }: { readonly batch: Batch; readonly options: ReadOptions }) => {
  const items = reader.read(batch, options)
  const { buffer } = batch.bytes
  port.postMessage({ bytes: batch.bytes, items }, buffer instanceof ArrayBuffer ? [buffer] : [])
})
