using Mesh.Hbone.Transport;

namespace Mesh.Ztunnel.Dns;

/// <summary>A client's connection: questions one after the other, answers as they come, in any order (RFC 7766 section 6.2.1.1).</summary>
internal sealed class DnsTcpConnection(DnsContext context, DnsHandler handler, TransportConnection connection) : IDisposable
{
    // Who asks more before the first answer waits; nobody else does.
    private const int MaxPipelined = 16;
    private readonly SemaphoreSlim _pipeline = new(MaxPipelined);
    private readonly SemaphoreSlim _writing = new(1);

    // Only counts; the bound is that of the pipeline.
    private readonly Quota _answering = new(int.MaxValue);

    /// <summary>Answers until the client ends the connection, is silent for too long, or the proxy stops; then until everything is answered.</summary>
    /// <param name="stopReading">Ends the reading.</param>
    /// <param name="cut">Ends everything.</param>
    public async Task RunAsync(CancellationToken stopReading, CancellationToken cut)
    {
        try
        {
            await ReadAllAsync(stopReading, cut);
        }
        finally
        {
            await _answering.WhenEmptyAsync();
        }
    }

    /// <summary>To be called when <see cref="RunAsync"/> has returned.</summary>
    public void Dispose()
    {
        _pipeline.Dispose();
        _writing.Dispose();
    }

    private async Task ReadAllAsync(CancellationToken stopReading, CancellationToken cut)
    {
        while (await ReadAsync(stopReading) is { Length: > 0 } message)
        {
            _answering.TryEnter();
            _ = AnswerAsync(message, cut);
        }
    }

    // A question must be there, whole, in the time that a connection may be silent. Then nobody holds one with an octet now and then.
    private async Task<byte[]?> ReadAsync(CancellationToken stopReading)
    {
        try
        {
            await _pipeline.WaitAsync(stopReading);
            using var silence = new CancellationTokenSource(context.Options.IdleTimeout, context.Time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(silence.Token, stopReading);
            return await DnsStream.ReadMessageAsync(connection.Stream, DnsRequest.MaxLength, either.Token);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    private async Task AnswerAsync(byte[] message, CancellationToken cut)
    {
        try
        {
            var answer = await handler.HandleAsync(DnsRequest.Read(message), DnsProtocol.Tcp, connection.RemoteEndPoint, cut);
            if (answer is not null)
            {
                await WriteAsync(answer, cut);
            }
        }
        catch (Exception)
        {
            // The client is gone, or does not read, or we are to stop. The reader learns of it, too.
            connection.Abort();
        }
        finally
        {
            _pipeline.Release();

            // Last: nothing of the connection is used after it.
            _answering.Exit();
        }
    }

    private async Task WriteAsync(byte[] answer, CancellationToken cut)
    {
        using var patience = new CancellationTokenSource(context.Options.IdleTimeout, context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cut);
        await _writing.WaitAsync(either.Token);
        try
        {
            await DnsStream.WriteMessageAsync(connection.Stream, answer, either.Token);
        }
        finally
        {
            _writing.Release();
        }
    }
}
