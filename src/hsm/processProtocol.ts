import type { HostConfig } from './host.ts'
import type { Greeting, HostReply } from './hostRequest.ts'

/** The child's end of the pipe. Not stdin and stdout: a library that prints would break the frames. */
export const PIPE_FD = 3
/** Where the child finds the PIN if its source is a descriptor of the parent. */
export const PIN_FD = 4

/** The first request to a child: opens the token; sent again, it opens it afresh. */
export interface Hello {
  readonly kind: 'hello'
  readonly config: HostConfig
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const isConfig = (value: unknown): value is HostConfig =>
  isRecord(value) &&
  ['origin', 'backend', 'libPath', 'tokenLabel', 'pinFile'].every((name) => typeof value[name] === 'string')

export const isHello = (value: unknown): value is Hello =>
  isRecord(value) && value['kind'] === 'hello' && isConfig(value['config'])

/** A reply as it comes out of the pipe. A fault of the child is not a reply: it is thrown in the parent. */
export const isReply = (value: unknown): value is HostReply =>
  isRecord(value) &&
  ((value['ok'] === true && 'value' in value) ||
    (value['ok'] === false && typeof value['code'] === 'string' && typeof value['message'] === 'string'))

export const isGreeting = (value: unknown): value is Greeting =>
  isRecord(value) &&
  isNames(value['specs']) &&
  typeof value['handleKey'] === 'boolean' &&
  typeof value['token'] === 'string' &&
  isWrapping(value['wrapping'])

const isWrapping = (value: unknown): boolean =>
  isRecord(value) && isNames(value['algorithms']) && isNames(value['specs'])

const isNames = (value: unknown): boolean => Array.isArray(value) && value.every((name) => typeof name === 'string')
