import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs'
import { must } from '../core/result.ts'

const pinBytesMax = 1024

/**
 * The PIN, read again from its source at each login. The source is a regular file or a descriptor of one; a pipe gives
 * its bytes once, so that no later login could follow, and is refused. The caller drops the string after use: pkcs11js
 * takes no other form, and a string cannot be zeroed.
 */
export const readPin = (source: string): string => {
  const descriptor = openSync(source, 'r')
  try {
    must(
      fstatSync(descriptor).isFile(),
      'the PIN source is not a regular file: it cannot be read again at a later login',
    )
    const bytes = readFileSync(descriptor)
    try {
      must(bytes.length > 0 && bytes.length <= pinBytesMax, 'the PIN source is empty or too long')
      return bytes.toString('utf8').replace(/\r?\n$/, '')
    } finally {
      bytes.fill(0)
    }
  } finally {
    closeSync(descriptor)
  }
}

/** Throws if the source exists and can be read only once: a configuration that could never log in again. */
export const checkPinSource = (source: string): void => {
  const stat = statSync(source, { throwIfNoEntry: false })
  must(stat === undefined || stat.isFile(), `the PIN source must be a regular file or a descriptor of one, not a pipe`)
}

/** Changes when the source was written again; a PIN that the token refused is not tried twice. */
export const readPinMark = (source: string): string => {
  const stat = statSync(source, { throwIfNoEntry: false })
  return stat === undefined ? 'absent' : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeMs}`
}

/** The descriptor's number if the source is one of this process: a child needs it handed over under a number of its own. */
export const parseDescriptor = (source: string): number | undefined => {
  const match = /^\/(?:dev\/fd|proc\/self\/fd)\/(\d{1,6})$/.exec(source)
  return match?.[1] === undefined ? undefined : Number(match[1])
}
