using Mesh.Xds.Client;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Logs;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>Sends traces, metrics and logs to a collector by OTLP, as OpenTelemetry's own environment variables say. For the executable.</summary>
internal sealed class OtlpExport : IDisposable
{
    private const string Endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    private const string ServiceName = "OTEL_SERVICE_NAME";

    private readonly TracerProvider _traces;
    private readonly MeterProvider _metrics;

    private OtlpExport()
    {
        _traces = Sdk.CreateTracerProviderBuilder().AddSource(ConnectionTracing.SourceName).AddOtlpExporter().Build();
        _metrics = Sdk.CreateMeterProviderBuilder().AddMeter(ZtunnelMetrics.MeterName, XdsClient.MeterName, "System.Runtime").AddOtlpExporter().Build();
    }

    /// <summary>Begins; null when no collector is named.</summary>
    public static OtlpExport? Start(IReadOnlyDictionary<string, string> settings)
    {
        if (!settings.TryGetValue(Endpoint, out var endpoint) || endpoint.Length == 0)
        {
            return null;
        }

        // OpenTelemetry reads its settings from the environment alone.
        foreach (var (name, value) in settings.Where(setting => setting.Key.StartsWith("OTEL_", StringComparison.Ordinal)))
        {
            Environment.SetEnvironmentVariable(name, value);
        }

        if (!settings.ContainsKey(ServiceName))
        {
            Environment.SetEnvironmentVariable(ServiceName, "ztunnel");
        }

        return new OtlpExport();
    }

    /// <summary>Sends what is logged, too.</summary>
    public static void AddLogs(IHostApplicationBuilder host)
    {
        // In a host OpenTelemetry looks for its settings in the configuration.
        host.Configuration.AddEnvironmentVariables();
        host.Logging.AddOpenTelemetry(options => options.AddOtlpExporter());
    }

    /// <summary>Sends what is left, and ends.</summary>
    public void Dispose()
    {
        _traces.Dispose();
        _metrics.Dispose();
    }
}
