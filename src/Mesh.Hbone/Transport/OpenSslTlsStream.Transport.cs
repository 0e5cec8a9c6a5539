using System.Buffers;
using System.Runtime.InteropServices;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>What OpenSSL calls to read and write: the socket, or what is kept for a transport that has to be waited for.</summary>
internal sealed partial class OpenSslTlsStream
{
    private static readonly nint TransportMethod = CreateTransportMethod();

    // As many octets as have come; -1 for nothing, 0 for the end.
    private int ReadTransport(Span<byte> buffer)
    {
        if (!_mayRead)
        {
            // A writer would, in the middle of a message of the peer's handshake (RFC 8446, section 4.6) that is spread over records.
            throw new IOException("the peer sends a part of a handshake message, and then not the rest");
        }

        var count = _polled is not null ? ReadPolled(_polled, buffer) : ReadInput(buffer);
        _hasEnded |= count == 0;
        _readWithoutData += Math.Max(0, count);

        // OpenSSL reads on until there is data, whatever it costs to read what is none.
        return _readWithoutData <= MaxReadWithoutData ? count : throw new IOException($"the peer has sent {_readWithoutData} octets of TLS without data in them; the limit is {MaxReadWithoutData}");
    }

    private static int ReadPolled(IPolledStream polled, Span<byte> buffer) => polled.TryRead(buffer, out var count) ? count : -1;

    private int ReadInput(Span<byte> buffer)
    {
        if (_inputStart == _inputEnd)
        {
            return _hasEnded ? 0 : -1;
        }

        var count = Math.Min(buffer.Length, _inputEnd - _inputStart);
        _input.AsSpan(_inputStart, count).CopyTo(buffer);
        _inputStart += count;
        if (_inputStart == _inputEnd)
        {
            ArrayPool<byte>.Shared.Return(_input!);
            _input = null;
        }

        return count;
    }

    private void WriteTransport(ReadOnlySpan<byte> octets)
    {
        _recordsToCome = Math.Max(0, _recordsToCome - 1);
        if (_isFlushing)
        {
            // Only the reader is here while the writer waits. All that it writes by itself is an alert: the connection has failed, and its peer does not read. Answers to
            // the peer's handshake messages are written with the next data.
            return;
        }

        if (_polled is not null && _output.Length == 0)
        {
            octets = octets[_polled.TryWrite(octets, more: _recordsToCome > 0)..];
        }

        if (!octets.IsEmpty)
        {
            _output.Append(octets);
        }
    }

    private static unsafe nint CreateTransportMethod()
    {
        var method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "Mesh transport");
        return method != 0 && BIO_meth_set_read(method, &OnRead) == 1 && BIO_meth_set_write(method, &OnWrite) == 1 && BIO_meth_set_ctrl(method, &OnControl) == 1
            ? method
            : throw new InvalidOperationException($"OpenSSL takes no transport: {TakeErrors()}");
    }

    // What OpenSSL calls. No exception may leave: it is kept for who has called OpenSSL.
    [UnmanagedCallersOnly]
    private static unsafe int OnRead(nint bio, byte* buffer, int length)
    {
        BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
        var stream = _inCall!;
        try
        {
            var count = stream.ReadTransport(new Span<byte>(buffer, length));
            if (count < 0)
            {
                BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
            }

            return count;
        }
        catch (Exception e)
        {
            stream._failure ??= e;
            return -1;
        }
    }

    [UnmanagedCallersOnly]
    private static unsafe int OnWrite(nint bio, byte* octets, int length)
    {
        BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
        var stream = _inCall!;
        try
        {
            stream.WriteTransport(new ReadOnlySpan<byte>(octets, length));
            return length;
        }
        catch (Exception e)
        {
            stream._failure ??= e;
            return -1;
        }
    }

    // Flushing is asked for, and done by who has called OpenSSL; the rest is for transports of other kinds.
    [UnmanagedCallersOnly]
    private static unsafe nint OnControl(nint bio, int command, nint number, void* pointer) => command == BIO_CTRL_FLUSH ? 1 : 0;
}
