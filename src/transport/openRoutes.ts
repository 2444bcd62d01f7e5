import type { FastifyInstance } from 'fastify'
import { LIMITS } from '../../schemas/limits.ts'

/** One part of the service and whether it answers; `detail` is a word for operators, without key data. */
export interface Component {
  readonly name: string
  readonly isReady: boolean
  readonly detail?: string
  /** Set if the service serves without it, all but what needs just this part. */
  readonly isOptional?: boolean
  /** Set if somebody has to act before long, though it answers. */
  readonly isWarning?: boolean
}

/** What the routes without token and record show. Nothing here may have key data. */
export interface OpenPorts {
  /** Touches every part for real. */
  readonly readiness: () => Promise<readonly Component[]>
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>
  /** The OpenAPI document, JSON. */
  readonly openapi: () => string
}

export const OPEN_PATHS = ['/healthz', '/readyz', '/metrics', '/openapi.json'] as const

/** Adds the routes that are not operations. They answer when everything else is down. */
export const addOpenRoutes = (app: FastifyInstance, ports: OpenPorts): void => {
  app.get('/healthz', (_request, reply) => reply.type('application/json').send('{"status":"ok"}'))
  app.get('/readyz', async (_request, reply) => {
    const components = await askInTime(ports.readiness)
    const isReady = components.every((component) => component.isReady || component.isOptional)
    return reply
      .code(isReady ? 200 : 503)
      .type('application/json')
      .send(
        JSON.stringify({
          status: isReady ? 'ready' : 'not_ready',
          ...toWarnings(components),
          components: components.map(({ name, isReady: ready, detail, isOptional, isWarning }) => ({
            name,
            status: ready ? 'ready' : 'not_ready',
            ...(detail === undefined ? {} : { detail }),
            ...(isOptional ? { optional: true } : {}),
            ...(isWarning ? { warning: true } : {}),
          })),
        }),
      )
  })
  app.get('/metrics', async (_request, reply) => {
    const { contentType, body } = await ports.metrics()
    return reply.type(contentType).send(body)
  })
  app.get('/openapi.json', (_request, reply) => reply.type('application/json').send(ports.openapi()))
}

/** The names of the components that warn; no member if none does. */
const toWarnings = (components: readonly Component[]): { readonly warnings?: readonly string[] } => {
  const warnings = components.filter(({ isWarning }) => isWarning).map(({ name }) => name)
  return warnings.length === 0 ? {} : { warnings }
}

/** A probe that hangs or throws is a part that is not ready. */
const askInTime = async (readiness: OpenPorts['readiness']): Promise<readonly Component[]> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<readonly Component[]>((resolve) => {
    timer = setTimeout(
      () => resolve([{ name: 'readiness', isReady: false, detail: 'no answer in time' }]),
      LIMITS.readinessDeadlineMs,
    )
  })
  try {
    return await Promise.race([readiness(), late])
  } catch {
    return [{ name: 'readiness', isReady: false, detail: 'the probe failed' }]
  } finally {
    clearTimeout(timer)
  }
}
