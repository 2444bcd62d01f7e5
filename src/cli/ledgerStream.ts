import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import { ok, type Result } from '../core/result.ts'
import { readLastSeq } from '../ledger/stream.ts'
import { readStream } from '../ledger/streamReader.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { openNats } from './natsLogin.ts'
import type { Settings } from './settings.ts'

/** The ledger as the stream holds it, up to the last sequence there was when it was opened. */
export interface LedgerStream {
  readonly lastSeq: number
  /** The messages in order, from a sequence on, once; throws when the server is lost or goes silent, never ends early because of that. */
  messages(from: number): AsyncGenerator<LedgerMessage>
  close(): Promise<void>
}

/** Opens a stream with the ledger as the `auditor` user, who may read it and nothing else. */
export const openLedgerStream = async (settings: Settings, stream: string): Promise<Result<LedgerStream, CliFault>> => {
  const { servers, tls, auditor, advice } = settings
  if (auditor === undefined) return unreachable('the configuration has no nats.auditor, who alone may read the ledger')
  const opened = await openNats({ servers, tls, ...auditor, advice })
  if (!opened.ok) return opened
  const connection = opened.value
  try {
    const lastSeq = await readLastSeq(connection, stream)
    return ok({
      lastSeq,
      messages: (from) =>
        readAll((signal) => readStream(connection, { from, to: lastSeq, stream }, signal), connection),
      close: () => connection.close(),
    })
  } catch (error) {
    await connection.close()
    return unreachable(`cannot read the stream ${stream} at ${servers.join(', ')}: ${describeError(error)}`)
  }
}

/** An end that the connection or a silence brought about is an error: it must not look like the ledger's end. */
async function* readAll(
  open: (signal: AbortSignal) => AsyncIterable<LedgerMessage>,
  connection: { isClosed(): boolean },
): AsyncGenerator<LedgerMessage> {
  const stalled = new AbortController()
  const timer = setTimeout(() => stalled.abort(), LIMITS.cliStallMs)
  try {
    for await (const message of open(stalled.signal)) {
      timer.refresh()
      yield message
      timer.refresh()
    }
    if (stalled.signal.aborted) throw new Error(`the NATS server has sent nothing for ${LIMITS.cliStallMs / 1000} s`)
    if (connection.isClosed()) throw new Error('the connection to the NATS server was lost')
  } finally {
    clearTimeout(timer)
  }
}
