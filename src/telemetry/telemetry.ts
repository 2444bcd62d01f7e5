import { type DestinationStream, pino } from 'pino'
import type { Telemetry } from '../core/ports.ts'
import { toLoggable } from './logLine.ts'
import { createMetrics, type Metrics } from './metrics.ts'

export interface TelemetryOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** Where lines go, one JSON object each; standard output if absent. */
  readonly destination?: DestinationStream
}

/** The {@link Telemetry} port with the metrics behind it, for the composition root. */
export interface ServiceTelemetry extends Telemetry {
  readonly metrics: Metrics
}

/**
 * Structured logs and metrics. No secret can be logged by a slip: a line is a message, written by hand in the code, and
 * scalar fields from one allow-list; objects, errors and bytes have no way in.
 */
export const createTelemetry = ({ level, destination }: TelemetryOptions): ServiceTelemetry => {
  const metrics = createMetrics()
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination ?? pino.destination({ dest: 1, sync: true }),
  )
  return {
    metrics,
    operationDone: (operation, transport, code, milliseconds) =>
      metrics.observeOperation({ operation, transport, code, milliseconds }),
    log: (at, message, fields) => logger[at](toLoggable(fields), message),
  }
}
