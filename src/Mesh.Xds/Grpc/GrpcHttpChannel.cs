using System.Net;
using System.Net.Http.Headers;
using Google.Protobuf;

namespace Mesh.Xds.Grpc;

/// <summary>gRPC over <see cref="HttpMessageInvoker"/>.</summary>
/// <remarks>Grpc.Net.Client is to take its place where it can be had; see docs/decisions.md.</remarks>
/// <param name="http">What speaks HTTP/2; disposed with the channel.</param>
/// <param name="address">The server: scheme and authority.</param>
/// <param name="time">The clock of deadlines.</param>
/// <param name="maxMessageSize">The longest message that is taken, in octets.</param>
internal sealed class GrpcHttpChannel(HttpMessageInvoker http, Uri address, TimeProvider time, int maxMessageSize) : IGrpcChannel
{
    private const string ContentType = "application/grpc";

    /// <summary>The requests' content type.</summary>
    internal static readonly MediaTypeHeaderValue RequestContentType = new(ContentType);

    public async Task<TResponse> CallAsync<TRequest, TResponse>(GrpcMethod<TRequest, TResponse> method, TRequest request, GrpcCallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage
        where TResponse : class, IMessage<TResponse>
    {
        await using var stream = Open(method, options, cancellationToken);
        try
        {
            await stream.WriteAsync(request, cancellationToken);
            stream.CompleteWriting();
        }
        catch (GrpcException)
        {
            // The server may have answered without reading; what it said is read below.
        }

        var response = await stream.ReadAsync(cancellationToken) ?? throw new GrpcException(GrpcStatusCode.Internal, $"{method.Path} ended with OK and without a response");
        return await stream.ReadAsync(cancellationToken) is null
            ? response
            : throw new GrpcException(GrpcStatusCode.Internal, $"{method.Path} has more than one response");
    }

    public IGrpcStream<TRequest, TResponse> Open<TRequest, TResponse>(GrpcMethod<TRequest, TResponse> method, GrpcCallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage
        where TResponse : class, IMessage<TResponse>
    {
        var request = new HttpRequestMessage(HttpMethod.Post, new Uri(address, method.Path))
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        request.Headers.TE.Add(new TransferCodingWithQualityHeaderValue("trailers"));
        foreach (var (name, value) in options.Metadata)
        {
            if (!request.Headers.TryAddWithoutValidation(name, value))
            {
                throw new ArgumentException($"'{name}' cannot be the name of metadata", nameof(options));
            }
        }

        if (options.Deadline is { } deadline)
        {
            // Eight digits at most; a deadline further away is none.
            request.Headers.TryAddWithoutValidation("grpc-timeout", $"{Math.Clamp((long)deadline.TotalMilliseconds, 1, 99_999_999)}m");
        }

        return new GrpcHttpStream<TRequest, TResponse>(http, request, method, maxMessageSize, options.Deadline, time, cancellationToken);
    }

    public void Dispose() => http.Dispose();

    /// <summary>Whether a response is gRPC's; otherwise what it is.</summary>
    internal static GrpcException? CheckResponse(HttpResponseMessage response)
    {
        if (response.StatusCode is not HttpStatusCode.OK)
        {
            return GrpcStatusFields.Read(response.Headers, out _)
                ?? new GrpcException(GrpcStatusFields.Of(response.StatusCode), $"the server answered with HTTP status {(int)response.StatusCode}");
        }

        var type = response.Content.Headers.ContentType?.MediaType ?? "";
        return type.StartsWith(ContentType, StringComparison.OrdinalIgnoreCase)
            ? null
            : new GrpcException(GrpcStatusCode.Unknown, $"the server answered with the content type '{type}', which is not gRPC's");
    }

    /// <summary>Puts what happened to a connection into gRPC's words.</summary>
    internal static GrpcException Translate(Exception fault, bool isCancelled)
    {
        for (var inner = fault; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                case GrpcException grpc:
                    return grpc;
                case HttpProtocolException http2:
                    return new GrpcException(GrpcStatusFields.OfHttp2(http2.ErrorCode), http2.Message, fault);
                case OperationCanceledException when isCancelled:
                    return new GrpcException(GrpcStatusCode.Cancelled, "the call was cancelled", fault);
            }
        }

        return new GrpcException(GrpcStatusCode.Unavailable, Messages(fault), fault);
    }

    // The outermost message often says only that there is a further one.
    private static string Messages(Exception fault)
    {
        var messages = new List<string>();
        for (var inner = fault; inner is not null; inner = inner.InnerException)
        {
            if (!messages.Contains(inner.Message))
            {
                messages.Add(inner.Message);
            }
        }

        return string.Join(": ", messages);
    }
}
