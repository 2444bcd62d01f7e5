import { createFakeLedger } from '../fixtures/fakeLedger.ts'
import { startLedgerStack } from '../fixtures/ledgerStack.ts'
import { describeLedger, QUEUE_MAX } from './ledger.suite.ts'

describeLedger('the ledger double', async () => {
  const ledger = await createFakeLedger({ queueMax: QUEUE_MAX })
  return {
    ledger,
    pin: ledger.pin,
    readMessages: async () => ledger.stream.messages,
    setClockAhead(ms) {
      ledger.stream.skewMs = ms
    },
    [Symbol.asyncDispose]: () => ledger[Symbol.asyncDispose](),
  }
})

describeLedger('the ledger on a real nats-server', async () => {
  const stack = await startLedgerStack()
  let aheadMs = 0
  const clock = { now: () => Date.now() + aheadMs }
  const { ledger } = await stack.openWriter({ bounds: { appendQueueMax: QUEUE_MAX }, clock })
  return {
    ledger,
    pin: stack.pin,
    readMessages: stack.readAll,
    setClockAhead(ms) {
      aheadMs = ms
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  }
})
