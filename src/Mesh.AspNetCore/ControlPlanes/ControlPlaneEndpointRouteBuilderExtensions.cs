using Mesh.Xds.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Puts a control plane among the endpoints of an app.</summary>
public static class ControlPlaneEndpointRouteBuilderExtensions
{
    private const string ContentType = "application/grpc";

    /// <summary>Serves delta discovery and certificates. The app must take HTTP/2 over TLS; client certificates, if it asks for any, must be verified by it.</summary>
    /// <remarks>The app's limits on a request's body do not count here. <c>KestrelServerLimits.MinResponseDataRate</c> does: with HTTP/2 it can be set for the whole server only, and a client that is slower than it loses its stream before <see cref="ControlPlaneOptions.StallTimeout"/>.</remarks>
    public static void MapControlPlane(this IEndpointRouteBuilder endpoints, ControlPlane controlPlane)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(controlPlane);
        foreach (var path in new[] { ControlPlane.DiscoveryPath, ControlPlane.CertificatePath })
        {
            endpoints.MapPost(path, (RequestDelegate)(context => ServeAsync(controlPlane, context)));
        }
    }

    private static async Task ServeAsync(ControlPlane controlPlane, HttpContext context)
    {
        if (!HttpProtocol.IsHttp2(context.Request.Protocol) || context.Request.ContentType?.StartsWith(ContentType, StringComparison.OrdinalIgnoreCase) is not true)
        {
            context.Response.StatusCode = StatusCodes.Status415UnsupportedMediaType;
            return;
        }

        // Streams are open for days, and silent for hours. Messages and waits have bounds of their own.
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size)
        {
            size.MaxRequestBodySize = null;
        }

        if (context.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate)
        {
            rate.MinDataRate = null;
        }

        context.Response.ContentType = ContentType;
        var call = new ControlPlaneCall
        {
            Path = context.Request.Path.Value!,
            Metadata = name => context.Request.Headers.TryGetValue(name, out var values) ? values.ToString() : null,
            Request = context.Request.Body,
            Response = context.Response.Body,
            SetTrailer = (name, value) => context.Response.AppendTrailer(name, value),
            ClientCertificate = context.Connection.ClientCertificate,
            Peer = $"{context.Connection.RemoteIpAddress}:{context.Connection.RemotePort}",
        };
        try
        {
            await controlPlane.ServeAsync(call, context.RequestAborted);
        }
        catch (OperationCanceledException)
        {
            // The client has gone, or the server stops.
            context.Abort();
        }
    }
}
