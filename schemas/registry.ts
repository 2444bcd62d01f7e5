import type { Contract, ReplyOf, RequestOf } from './contract.ts'
import * as aliases from './operations/aliases.ts'
import { createBatch } from './operations/batch.ts'
import * as data from './operations/data.ts'
import * as hsmConnections from './operations/hsmConnections.ts'
import * as keys from './operations/keys.ts'
import * as ledger from './operations/ledger.ts'
import * as lifecycle from './operations/lifecycle.ts'
import * as material from './operations/material.ts'
import * as namespaces from './operations/namespaces.ts'
import * as rotationJobs from './operations/rotationJobs.ts'
import * as tags from './operations/tags.ts'
import * as versions from './operations/versions.ts'

const SINGLE = {
  ...keys,
  ...lifecycle,
  ...versions,
  ...rotationJobs,
  ...aliases,
  ...tags,
  ...namespaces,
  ...material,
  ...data,
  ...hsmConnections,
  ...ledger,
} as const

/** Every contract, by operation name. What is not here cannot be asked. */
export const CONTRACTS = { ...SINGLE, Batch: createBatch(SINGLE) } as const

export type Contracts = typeof CONTRACTS
export type OperationName = keyof Contracts

/** The validated request of one operation. */
export type Request<N extends OperationName> = RequestOf<Contracts[N]>
/** The reply body of one operation, receipt included. */
export type ReplyBody<N extends OperationName> = ReplyOf<Contracts[N]>
/** The reply body without the receipt, which the pipeline adds. */
export type Body<N extends OperationName> = Omit<ReplyBody<N>, 'receipt'>

/** One item of a batch, and what became of one. */
export type BatchItem = Request<'Batch'>['operations'][number]
export type BatchOutcome = ReplyBody<'Batch'>['results'][number]

/** The operations that a batch may hold. */
export type BatchableName = BatchItem['operation']

const BATCHABLE: ReadonlySet<string> = new Set(
  Object.values(SINGLE).flatMap(({ name, effect }) => (effect === 'use' ? [name] : [])),
)

export const isBatchable = (name: string): name is BatchableName => BATCHABLE.has(name)

export const OPERATION_NAMES = Object.keys(CONTRACTS).sort() as readonly OperationName[]

/** The contract of a name, widened for code that treats all operations alike. */
export const toContract = (name: OperationName): Contract => CONTRACTS[name]
