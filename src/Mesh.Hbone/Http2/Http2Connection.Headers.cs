using System.Buffers;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>Header blocks as they come in (RFC 9113, sections 6.2 and 6.10): requests, responses, trailers.</summary>
internal sealed partial class Http2Connection
{
    // A CONNECT of a ztunnel has five.
    private const int UsualFields = 5;

    private readonly HpackDecoder _decoder;
    private readonly OutputBuffer _block = new();

    // The stream whose header block is being continued; 0 when none is.
    private int _continuing;
    private bool _continuingEndsStream;

    private void OnHeaders(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        Require(header.StreamId != 0, "HEADERS on stream 0");
        var padding = 0;
        if (header.Has(FrameFlags.Padded))
        {
            Require(payload.Length > 0, "padded HEADERS without a pad length");
            padding = payload[0];
            payload = payload[1..];
        }

        if (header.Has(FrameFlags.Priority))
        {
            const int PriorityFields = 5;
            Require(payload.Length >= PriorityFields, "HEADERS too short for its priority");
            payload = payload[PriorityFields..];
        }

        Require(padding <= payload.Length, "the padding of HEADERS is longer than its payload");
        _block.Clear();
        _block.Write(payload[..^padding]);
        _continuingEndsStream = header.Has(FrameFlags.EndStream);
        if (header.Has(FrameFlags.EndHeaders))
        {
            OnHeaderBlock(header.StreamId);
        }
        else
        {
            _continuing = header.StreamId;
        }
    }

    private void OnContinuation(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        Require(_continuing != 0, "CONTINUATION without HEADERS");

        // An empty one that does not end the block serves nobody but an attacker.
        if (_block.Length + payload.Length > _maxHeaderListSize + HeaderBlockSlack || (payload.IsEmpty && !header.Has(FrameFlags.EndHeaders)))
        {
            throw new Http2ConnectionException(Http2ErrorCode.EnhanceYourCalm, "a header block that does not end");
        }

        _block.Write(payload);
        if (header.Has(FrameFlags.EndHeaders))
        {
            _continuing = 0;
            OnHeaderBlock(header.StreamId);
        }
    }

    private void OnHeaderBlock(int streamId)
    {
        var fields = new List<HeaderField>(UsualFields);
        bool complete;
        try
        {
            complete = _decoder.Decode(_block.Written.Span, fields);
        }
        catch (HpackException e)
        {
            throw new Http2ConnectionException(Http2ErrorCode.CompressionError, e.Message);
        }
        finally
        {
            _block.Release();
        }

        Http2Stream? stream;
        lock (_gate)
        {
            stream = _streams.GetValueOrDefault(streamId);
        }

        if (stream is not null)
        {
            OnFurtherHeaders(stream, fields, complete);
        }
        else if (_isServer)
        {
            OnRequest(streamId, fields, complete);
        }
        else
        {
            lock (_gate)
            {
                RequireKnown_NeedsLock(streamId, FrameType.Headers);
            }

            _floods.Charge(FloodBudget.IdleFrame, "HEADERS for streams that have ended");
        }
    }

    private void OnRequest(int streamId, List<HeaderField> fields, bool complete)
    {
        Require(streamId % 2 == 1, $"a client opened stream {streamId}, which is even");
        var stream = new Http2Stream(this, streamId, _options) { RequestHeaders = fields };
        var fault = complete ? ConnectRequest.Fault(fields) : Http2ErrorCode.EnhanceYourCalm;
        lock (_gate)
        {
            if (streamId <= _lastPeerStreamId)
            {
                // A stream that has ended: trailers that crossed our reset. Decoded for the table's sake, and dropped. A request is never late.
                Require(!ConnectRequest.HasPseudoHeaders(fields), $"a request on stream {streamId}, which is not above those before");
                _floods.Charge(FloodBudget.IdleFrame, "HEADERS for streams that have ended");
                return;
            }

            _lastPeerStreamId = streamId;
            if (fault is not null)
            {
                _floods.Charge(FloodBudget.StreamFault, "malformed requests");
            }

            fault ??= _draining || _active >= _options.MaxConcurrentStreams ? Http2ErrorCode.RefusedStream : null;
            if (fault is { } code)
            {
                _floods.Charge(FloodBudget.WastedRequest, "requests over the limit of streams");
                FrameWriter.WriteRstStream(_control, streamId, code);
                return;
            }

            _lastProcessedStreamId = streamId;
            stream.SendWindow = new FlowWindow(_peer.InitialWindowSize);
            stream.Counted = true;
            _active++;
            _streams.Add(streamId, stream);
        }

        if (_continuingEndsStream)
        {
            EndInbound(stream);
        }

        _onRequest?.Invoke(stream);
    }

    // On a client the response, then trailers; on a server trailers only.
    private void OnFurtherHeaders(Http2Stream stream, List<HeaderField> fields, bool complete)
    {
        bool response;
        lock (_gate)
        {
            if (stream.RemoteClosed)
            {
                throw new Http2ConnectionException(Http2ErrorCode.StreamClosed, $"HEADERS on stream {stream.Id} behind its end");
            }

            response = !_isServer && !stream.ResponseSeen;
        }

        if (response)
        {
            var status = complete ? ConnectRequest.Status(fields) : null;
            if (status is null || (status < 200 && _continuingEndsStream))
            {
                _floods.Charge(FloodBudget.StreamFault, "malformed responses");
                Abort(stream, Http2ErrorCode.ProtocolError, "a malformed response");
                return;
            }

            if (status < 200)
            {
                _floods.Charge(FloodBudget.IdleFrame, "1xx responses");
                return;
            }

            lock (_gate)
            {
                stream.ResponseSeen = true;
            }

            stream.Response.TrySetResult(fields);
        }
        else if (!_continuingEndsStream || ConnectRequest.HasPseudoHeaders(fields) || !ConnectRequest.AreFieldsValid(fields))
        {
            // Trailers end a stream (RFC 9113, section 8.1). Section 8.5 allows none on a tunnel; those that do no harm are taken for the end that they are.
            _floods.Charge(FloodBudget.StreamFault, "malformed trailers");
            Abort(stream, Http2ErrorCode.ProtocolError, "malformed trailers");
            return;
        }

        if (_continuingEndsStream)
        {
            EndInbound(stream);
        }
    }
}
