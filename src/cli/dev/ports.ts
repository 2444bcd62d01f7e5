import { once } from 'node:events'
import { createServer } from 'node:net'
import { ok, type Result } from '../../core/result.ts'
import { fault, type OperatorFault } from '../config.ts'

/** That nothing listens on a loopback port; else the fault names the variable that moves it. */
export const checkPortFree = async (port: number, variable: string): Promise<Result<void, OperatorFault>> => {
  const server = createServer()
  try {
    const listening = once(server, 'listening')
    server.listen(port, '127.0.0.1')
    await listening
    return ok(undefined)
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error
    if (error.code === 'EADDRINUSE') return fault(`port ${port} is in use: set ${variable}`)
    if (error.code === 'EACCES') return fault(`port ${port} needs rights this user lacks: set ${variable}`)
    throw error
  } finally {
    if (server.listening) {
      const closed = once(server, 'close')
      server.close()
      await closed
    }
  }
}
