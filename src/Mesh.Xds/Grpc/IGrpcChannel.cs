using Google.Protobuf;

namespace Mesh.Xds.Grpc;

/// <summary>Where gRPC calls go: one server, over HTTP/2. All that the clients of this package know of gRPC.</summary>
internal interface IGrpcChannel : IDisposable
{
    /// <summary>One request, one response.</summary>
    /// <exception cref="GrpcException">Any end but OK.</exception>
    Task<TResponse> CallAsync<TRequest, TResponse>(GrpcMethod<TRequest, TResponse> method, TRequest request, GrpcCallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage
        where TResponse : class, IMessage<TResponse>;

    /// <summary>Begins a call in which both sides may send any number of messages. Returns at once: whether the server takes the call is seen when it is read.</summary>
    /// <param name="method">The method.</param>
    /// <param name="options">Its metadata and deadline.</param>
    /// <param name="cancellationToken">Ends the call, whenever it comes.</param>
    IGrpcStream<TRequest, TResponse> Open<TRequest, TResponse>(GrpcMethod<TRequest, TResponse> method, GrpcCallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage
        where TResponse : class, IMessage<TResponse>;
}

/// <summary>A call with many messages. One writer and one reader at a time; disposal cancels what has not ended.</summary>
internal interface IGrpcStream<in TRequest, TResponse> : IAsyncDisposable
    where TResponse : class
{
    /// <summary>Sends a message; waits while the server takes no more octets.</summary>
    /// <exception cref="GrpcException">The call has ended; <see cref="ReadAsync"/> says how.</exception>
    Task WriteAsync(TRequest message, CancellationToken cancellationToken);

    /// <summary>Says that no more messages follow.</summary>
    void CompleteWriting();

    /// <summary>The next message; null when the server has ended the call with OK.</summary>
    /// <exception cref="GrpcException">Any other end.</exception>
    Task<TResponse?> ReadAsync(CancellationToken cancellationToken);
}

/// <summary>A method of a service.</summary>
/// <param name="Service">The full name of the service.</param>
/// <param name="Name">The name of the method.</param>
/// <param name="ResponseParser">Reads its responses.</param>
internal sealed record GrpcMethod<TRequest, TResponse>(string Service, string Name, MessageParser<TResponse> ResponseParser)
    where TRequest : class, IMessage
    where TResponse : class, IMessage<TResponse>
{
    /// <summary>The <c>:path</c>.</summary>
    public string Path => $"/{Service}/{Name}";
}

/// <summary>What a call carries besides its messages.</summary>
/// <param name="Metadata">Header fields; names in lower case.</param>
/// <param name="Deadline">How long the call may take; null for as long as it likes.</param>
internal sealed record GrpcCallOptions(IReadOnlyList<KeyValuePair<string, string>> Metadata, TimeSpan? Deadline = null)
{
    public static readonly GrpcCallOptions None = new([]);
}
