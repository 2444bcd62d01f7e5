import type { Contract, ReplyOf, RequestOf } from './contract.ts'
import * as aliases from './operations/aliases.ts'
import * as data from './operations/data.ts'
import * as keys from './operations/keys.ts'
import * as lifecycle from './operations/lifecycle.ts'
import * as rotationJobs from './operations/rotationJobs.ts'
import * as tags from './operations/tags.ts'
import * as versions from './operations/versions.ts'

/** Every contract, by operation name. What is not here cannot be asked. */
export const CONTRACTS = {
  ...keys,
  ...lifecycle,
  ...versions,
  ...rotationJobs,
  ...aliases,
  ...tags,
  ...data,
} as const

export type Contracts = typeof CONTRACTS
export type OperationName = keyof Contracts

/** The validated request of one operation. */
export type Request<N extends OperationName> = RequestOf<Contracts[N]>
/** The reply body of one operation, receipt included. */
export type ReplyBody<N extends OperationName> = ReplyOf<Contracts[N]>
/** The reply body without the receipt, which the pipeline adds. */
export type Body<N extends OperationName> = Omit<ReplyBody<N>, 'receipt'>

export const OPERATION_NAMES = Object.keys(CONTRACTS).sort() as readonly OperationName[]

/** The contract of a name, widened for code that treats all operations alike. */
export const toContract = (name: OperationName): Contract => CONTRACTS[name]
