import { open } from 'node:fs/promises'
import { ok, type Result } from '../core/result.ts'
import { describeError } from './exit.ts'

/** Where a command reads from and writes to; the process's own streams, or those of a test. */
export interface Terminal {
  readonly stdin: AsyncIterable<Uint8Array>
  readonly stdout: NodeJS.WritableStream
  readonly stderr: NodeJS.WritableStream
  /** Whether a person watches stderr, so that progress may be shown. */
  readonly showsProgress: boolean
  readonly env: NodeJS.ProcessEnv
  /** The clone. */
  readonly root: string
}

/** Reads a file, or standard input for `-`; more than `bytesMax` is an error. The array is the caller's to zero. */
export const readInput = async (
  terminal: Pick<Terminal, 'stdin'>,
  path: string,
  bytesMax: number,
): Promise<Result<Uint8Array, string>> => {
  try {
    const bytes = path === '-' ? await collect(terminal.stdin, bytesMax) : await readFileUpTo(path, bytesMax)
    return bytes ? ok(bytes) : { ok: false, error: `more than ${bytesMax} bytes` }
  } catch (error) {
    return { ok: false, error: describeError(error) }
  }
}

/** Reads a small text file without its last line end; says in words what is wrong. */
export const readTextFile = async (path: string, bytesMax: number): Promise<Result<string, string>> => {
  try {
    const bytes = await readFileUpTo(path, bytesMax)
    return bytes
      ? ok(
          Buffer.from(bytes)
            .toString('utf8')
            .replace(/\r?\n$/, ''),
        )
      : { ok: false, error: `${path} is longer than ${bytesMax} bytes` }
  } catch (error) {
    return { ok: false, error: describeError(error) }
  }
}

/**
 * Writes bytes to a file that only its owner may read, whatever mode it had before, or to standard output for `-`.
 * Says in words what is wrong.
 */
export const writeOutput = async (
  terminal: Pick<Terminal, 'stdout'>,
  path: string,
  bytes: Uint8Array,
): Promise<Result<void, string>> => {
  try {
    if (path === '-') await write(terminal.stdout, bytes)
    else await writePrivateFile(path, bytes)
    return ok(undefined)
  } catch (error) {
    return { ok: false, error: describeError(error) }
  }
}

/** Resolves once the stream has taken the bytes. */
export const write = (stream: NodeJS.WritableStream, data: Uint8Array | string): Promise<void> =>
  new Promise((resolve, reject) => {
    stream.write(data, (error) => (error ? reject(error) : resolve()))
  })

const writePrivateFile = async (path: string, bytes: Uint8Array): Promise<void> => {
  const file = await open(path, 'w', 0o600)
  try {
    // A file that was there keeps its mode on opening; a pipe or device has none of ours to set.
    if ((await file.stat()).isFile()) await file.chmod(0o600)
    await file.writeFile(bytes)
  } finally {
    await file.close()
  }
}

const readFileUpTo = async (path: string, bytesMax: number): Promise<Uint8Array | undefined> => {
  const file = await open(path, 'r')
  try {
    return await collect(file.createReadStream({ autoClose: false }), bytesMax)
  } finally {
    await file.close()
  }
}

const collect = async (chunks: AsyncIterable<Uint8Array>, bytesMax: number): Promise<Uint8Array | undefined> => {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    length += chunk.length
    if (length > bytesMax) return undefined
  }
  const whole = Buffer.alloc(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    part.fill(0)
    at += part.length
  }
  return whole
}
