using System.Runtime.CompilerServices;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>The writing half: what the socket does not take is written without the lock.</summary>
internal sealed partial class OpenSslTlsStream
{
    private async ValueTask WritePartsAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
    {
        for (; !buffer.IsEmpty; buffer = buffer[Math.Min(buffer.Length, MaxEncrypted)..])
        {
            await WriteAsync(buffer[..Math.Min(buffer.Length, MaxEncrypted)], cancellationToken);
        }
    }

    private async ValueTask WriteOneByOneAsync(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second)
    {
        await WriteAsync(first);
        await WriteAsync(second);
    }

    // Whether something is left to flush.
    private bool Encrypt(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        lock (_gate)
        {
            Enter_NeedsLock();
            try
            {
                _recordsToCome = RecordsOf(first.Length) + RecordsOf(second.Length);
                Encrypt_NeedsLock(first);
                Encrypt_NeedsLock(second);
                return BeginFlush_NeedsLock();
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    private void Encrypt_NeedsLock(ReadOnlySpan<byte> octets)
    {
        if (octets.IsEmpty)
        {
            return;
        }

        // All of it or nothing: what the socket does not take is kept here.
        if (SSL_write(_ssl, octets, octets.Length) != octets.Length)
        {
            _failure ??= new IOException($"TLS failed: {TakeErrors()}");
        }

        ThrowIfFailed_NeedsLock();
    }

    private static int RecordsOf(int length) => (length + RecordSize - 1) / RecordSize;

    private bool BeginFlush_NeedsLock() => _output.Length > 0 && !_isFlushing && (_isFlushing = true);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask FlushOutputAsync(CancellationToken cancellationToken)
    {
        Exception? failure = null;
        try
        {
            await _transport.WriteAsync(_output.Written, cancellationToken);
        }
        catch (Exception e)
        {
            failure = e;
            throw;
        }
        finally
        {
            lock (_gate)
            {
                // After a record that was cut short nothing can follow.
                _failure ??= failure;
                _output.Release();
                _isFlushing = false;
            }
        }
    }
}
