import { TimeoutError } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import type { StreamMessage } from '../client/ledgerGets.ts'
import { openStoredLedger, type StoredLedger } from '../client/storedLedger.ts'
import { ok, type Result } from '../core/result.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { openNats } from './natsLogin.ts'
import type { Settings } from './settings.ts'

/** The ledger as its streams hold it, up to the last sequence there was when it was opened. */
export interface LedgerStreams extends Pick<StoredLedger, 'begin' | 'lastSeq'> {
  /**
   * The messages in order, from a sequence on, each with the name of its stream; throws when the server is lost or goes
   * silent, never ends early because of that.
   */
  messages(from: number): AsyncGenerator<StreamMessage>
  close(): Promise<void>
}

/** Opens all streams of the ledger, or the one that is named, as the `auditor` user, who may read and nothing else. */
export const openLedgerStreams = async (
  settings: Settings,
  stream: string | undefined,
): Promise<Result<LedgerStreams, CliFault>> => {
  const { servers, tls, auditor, advice } = settings
  if (auditor === undefined) return unreachable('the configuration has no nats.auditor, who alone may read the ledger')
  const opened = await openNats({ servers, tls, ...auditor, advice })
  if (!opened.ok) return opened
  const connection = opened.value
  try {
    const stored = await openStoredLedger(connection, { stream, timeoutMs: LIMITS.cliStallMs })
    return ok({ ...stored, messages: (from) => readAll(stored, from), close: () => connection.close() })
  } catch (error) {
    await connection.close()
    const what = stream === undefined ? "the ledger's streams" : `the stream ${stream}`
    return unreachable(`cannot read ${what} at ${servers.join(', ')}: ${describeError(error)}`)
  }
}

async function* readAll(stored: StoredLedger, from: number): AsyncGenerator<StreamMessage> {
  try {
    yield* stored.messages(from, new AbortController().signal)
  } catch (error) {
    if (!(error instanceof TimeoutError)) throw error
    throw new Error(`the NATS server has sent nothing for ${LIMITS.cliStallMs / 1000} s`, { cause: error })
  }
}
