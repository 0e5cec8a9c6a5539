using Mesh.Core.Workloads;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace LocalMesh;

/// <summary>An application that knows nothing of the mesh: plain HTTP on its workload's address.</summary>
internal static class Application
{
    public static async Task<WebApplication> StartAsync(Workload workload)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        var ports = workload.Services.Values.SelectMany(ports => ports.Values).Distinct();
        builder.WebHost.UseKestrel(kestrel =>
        {
            foreach (var port in ports)
            {
                kestrel.Listen(workload.Addresses[0], port);
            }
        });
        var application = builder.Build();
        application.Run(context => context.Response.WriteAsync($"hello from {workload.Name}\n"));
        await application.StartAsync();
        return application;
    }
}
