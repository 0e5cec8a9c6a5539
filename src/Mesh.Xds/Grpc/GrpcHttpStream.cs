using System.Net;
using Google.Protobuf;

namespace Mesh.Xds.Grpc;

/// <summary>A call in progress: the request's content stays open until writing is complete, while the response is read.</summary>
internal sealed class GrpcHttpStream<TRequest, TResponse> : IGrpcStream<TRequest, TResponse>
    where TRequest : class, IMessage
    where TResponse : class, IMessage<TResponse>
{
    private readonly GrpcMethod<TRequest, TResponse> _method;
    private readonly int _maxMessageSize;
    private readonly CancellationTokenSource? _deadline;
    private readonly CancellationTokenSource _end;
    private readonly OpenContent _content;
    private readonly HttpRequestMessage _request;
    private readonly Task<HttpResponseMessage> _sending;
    private HttpResponseMessage? _response;
    private Stream? _body;

    public GrpcHttpStream(
        HttpMessageInvoker http, HttpRequestMessage request, GrpcMethod<TRequest, TResponse> method, int maxMessageSize, TimeSpan? deadline, TimeProvider time, CancellationToken cancellationToken)
    {
        _method = method;
        _maxMessageSize = maxMessageSize;
        _deadline = deadline is { } limit ? new CancellationTokenSource(limit, time) : null;
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _deadline?.Token ?? CancellationToken.None);
        _content = new OpenContent(_end.Token);
        _request = request;
        _request.Content = _content;
        _sending = http.SendAsync(request, _end.Token);
    }

    public async Task WriteAsync(TRequest message, CancellationToken cancellationToken)
    {
        try
        {
            var stream = await StreamAsync(cancellationToken);
            await stream.WriteAsync(GrpcFraming.Write(message), cancellationToken);
            await stream.FlushAsync(cancellationToken);
        }
        catch (Exception e) when (IsOfTheCall(e, cancellationToken))
        {
            throw Translate(e);
        }
    }

    public void CompleteWriting() => _content.Complete();

    public async Task<TResponse?> ReadAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (_body is null)
            {
                _response = await _sending.WaitAsync(cancellationToken);
                if (GrpcHttpChannel.CheckResponse(_response) is { } refusal)
                {
                    throw refusal;
                }

                _body = await _response.Content.ReadAsStreamAsync(cancellationToken);
            }

            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _end.Token);
            if (await GrpcFraming.ReadAsync(_body, _method.ResponseParser, _maxMessageSize, either.Token) is { } message)
            {
                return message;
            }

            return Ending(_response!) is { } fault ? throw fault : null;
        }
        catch (Exception e) when (IsOfTheCall(e, cancellationToken))
        {
            throw Translate(e);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _content.Complete();
        await _end.CancelAsync();
        try
        {
            // Disposing a response that has not ended resets its stream.
            (await _sending).Dispose();
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException)
        {
            // It never came, and nobody waits for it any more.
        }

        _request.Dispose();
        _deadline?.Dispose();
        _end.Dispose();
    }

    // The stream exists when the connection does, and never if that cannot be made.
    private async Task<Stream> StreamAsync(CancellationToken cancellationToken)
    {
        if (!_content.Stream.IsCompleted)
        {
            await Task.WhenAny(_content.Stream, _sending).WaitAsync(cancellationToken);
            if (!_content.Stream.IsCompleted)
            {
                await _sending;
            }
        }

        return _content.Stream.IsCompleted ? await _content.Stream : throw new IOException("the server has ended the call");
    }

    // A response of headers alone has its status among them.
    private static GrpcException? Ending(HttpResponseMessage response)
    {
        var fault = GrpcStatusFields.Read(response.TrailingHeaders, out var isOk);
        if (fault is null && !isOk)
        {
            fault = GrpcStatusFields.Read(response.Headers, out isOk);
        }

        return isOk ? null : fault ?? new GrpcException(GrpcStatusCode.Unavailable, "the server ended the call without a status");
    }

    // The caller's own cancellation stays what it is.
    private static bool IsOfTheCall(Exception fault, CancellationToken cancellationToken) =>
        fault is HttpRequestException or IOException or ObjectDisposedException or InvalidOperationException
        || (fault is OperationCanceledException && !cancellationToken.IsCancellationRequested);

    // HttpClient has a cancellation for a connection that could not be made in time, too.
    private GrpcException Translate(Exception fault) => _deadline is { IsCancellationRequested: true }
        ? new GrpcException(GrpcStatusCode.DeadlineExceeded, $"{_method.Path} took longer than it may", fault)
        : GrpcHttpChannel.Translate(fault, isCancelled: _end.IsCancellationRequested);

    /// <summary>A request's content that is written to from outside until it is complete.</summary>
    private sealed class OpenContent : HttpContent
    {
        private readonly TaskCompletionSource<Stream> _stream = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _complete = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly CancellationToken _end;

        public OpenContent(CancellationToken end)
        {
            _end = end;
            Headers.ContentType = GrpcHttpChannel.RequestContentType;
        }

        public Task<Stream> Stream => _stream.Task;

        public void Complete() => _complete.TrySetResult();

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            // The server may answer before it has anything to read.
            await stream.FlushAsync(cancellationToken);
            if (!_stream.TrySetResult(stream))
            {
                // HttpClient would try a request again on another connection, where what was written is lost.
                throw new IOException("a call that has begun cannot be moved to another connection");
            }

            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _end);
            await _complete.Task.WaitAsync(either.Token);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
