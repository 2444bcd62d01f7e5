import { type NatsConnection, TimeoutError } from '@nats-io/transport-node'
import { STREAM_LEDGER } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { getMessages, type StreamMessage } from '../client/ledgerGets.ts'
import { listLedgerStreams, readStreamEnds, type StreamEnds } from '../client/ledgerStreams.ts'
import { ok, type Result } from '../core/result.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { openNats } from './natsLogin.ts'
import type { Settings } from './settings.ts'

/** The ledger as its streams hold it, up to the last sequence there was when it was opened. */
export interface LedgerStreams {
  /** Where the ledger begins there: after 1 once older streams are archived and deleted. */
  readonly begin: { readonly seq: number; readonly stream: string }
  readonly lastSeq: number
  /**
   * The messages in order, from a sequence on, once, each with the name of its stream (in a mirror, of the stream that it
   * mirrors); throws when the server is lost or goes silent, never ends early because of that.
   */
  messages(from: number): AsyncGenerator<StreamMessage>
  close(): Promise<void>
}

/** Opens all streams of the ledger, or only the one that is named, as the `auditor` user, who may read and nothing else. */
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
    const streams = await readAllEnds(connection, stream)
    const [{ begin, ledgerName }] = streams
    return ok({
      begin: { seq: begin, stream: ledgerName },
      lastSeq: Math.max(...streams.map(({ lastSeq }) => lastSeq)),
      messages: (from) => readAll(connection, streams, from),
      close: () => connection.close(),
    })
  } catch (error) {
    await connection.close()
    const what = stream === undefined ? "the ledger's streams" : `the stream ${stream}`
    return unreachable(`cannot read ${what} at ${servers.join(', ')}: ${describeError(error)}`)
  }
}

type Several = readonly [StreamEnds, ...StreamEnds[]]

const readAllEnds = async (connection: NatsConnection, named: string | undefined): Promise<Several> => {
  const [first = STREAM_LEDGER, ...others] = named === undefined ? await listLedgerStreams(connection) : [named]
  const read = (name: string) => readStreamEnds(connection, name, LIMITS.cliStallMs)
  const ends: [StreamEnds, ...StreamEnds[]] = [await read(first)]
  for (const name of others) ends.push(await read(name))
  return ends
}

async function* readAll(
  connection: NatsConnection,
  streams: readonly StreamEnds[],
  from: number,
): AsyncGenerator<StreamMessage> {
  const never = new AbortController().signal
  try {
    for (const { name, ledgerName, firstSeq, lastSeq } of streams) {
      const range = { stream: name, from: Math.max(from, firstSeq), to: lastSeq, timeoutMs: LIMITS.cliStallMs }
      for await (const message of getMessages(connection, range, never)) yield { ...message, stream: ledgerName }
    }
  } catch (error) {
    if (!(error instanceof TimeoutError)) throw error
    throw new Error(`the NATS server has sent nothing for ${LIMITS.cliStallMs / 1000} s`, { cause: error })
  }
}
