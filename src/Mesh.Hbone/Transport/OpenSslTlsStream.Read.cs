using System.Buffers;
using System.Runtime.CompilerServices;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>The reading half.</summary>
internal sealed partial class OpenSslTlsStream
{
    public ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken)
    {
        if (IsReadable)
        {
            return new ValueTask<int>(0);
        }

        IsReadable = true;
        return WaitForInputAsync(cancellationToken);
    }

    public bool TryRead(Span<byte> buffer, out int count)
    {
        count = 0;
        lock (_gate)
        {
            Enter_NeedsLock(mayRead: true);
            try
            {
                if (!IsReadable)
                {
                    return false;
                }

                do
                {
                    // A record at most.
                    var read = SSL_read(_ssl, buffer[count..], buffer.Length - count);
                    if (read <= 0)
                    {
                        IsReadable = IsOver_NeedsLock(read);
                        if (count == 0)
                        {
                            // A failure is no end.
                            ThrowIfFailed_NeedsLock();
                        }

                        return IsReadable || count > 0;
                    }

                    _readWithoutData = 0;
                    count += read;
                    IsReadable = HasMore_NeedsLock();
                }
                while (IsReadable && count < buffer.Length);

                return true;
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    // What OpenSSL or we have read and not handed out, and what the transport may have.
    private bool HasMore_NeedsLock() => SSL_has_pending(_ssl) != 0 || (_polled?.IsReadable ?? (_hasEnded || _inputStart < _inputEnd));

    // Whether a read brings something, an end or a failure.
    private bool IsThere()
    {
        lock (_gate)
        {
            Enter_NeedsLock(mayRead: true);
            try
            {
                Span<byte> one = stackalloc byte[1];
                var read = SSL_peek(_ssl, one, one.Length);
                IsReadable = read > 0 || IsOver_NeedsLock(read);
                return IsReadable;
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    // After a read that brought nothing: whether there will be nothing more, for an end or a failure.
    private bool IsOver_NeedsLock(int result)
    {
        var error = SSL_get_error(_ssl, result);
        if (error == SSL_ERROR_WANT_READ)
        {
            return false;
        }

        // An end without close_notify is one as well: HTTP/2 tells by itself whether something is missing.
        if (error != SSL_ERROR_ZERO_RETURN && !_hasEnded)
        {
            _failure ??= new IOException($"TLS failed: {TakeErrors()}");
        }

        return true;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> WaitUntilThereAsync(CancellationToken cancellationToken)
    {
        do
        {
            await WaitForEventAsync(cancellationToken);
        }
        while (!IsThere());

        return 0;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> ReadLaterAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        int count;
        do
        {
            await WaitForEventAsync(cancellationToken);
        }
        while (!TryRead(buffer.Span, out count));

        return count;
    }

    private ValueTask<int> WaitForInputAsync(CancellationToken cancellationToken) =>
        _polled?.WaitForEventAsync(cancellationToken) ?? FillAsync(cancellationToken);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> FillAsync(CancellationToken cancellationToken)
    {
        _ = await _transport.ReadAsync(Memory<byte>.Empty, cancellationToken);
        _input ??= ArrayPool<byte>.Shared.Rent(ReadSize);
        _inputStart = 0;
        _inputEnd = 0;
        _inputEnd = await _transport.ReadAsync(_input, cancellationToken);
        _hasEnded = _inputEnd == 0;
        return 0;
    }
}
